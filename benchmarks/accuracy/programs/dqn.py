"""Q-learning with a bounded replay buffer and a target network."""

import random
from collections import deque

import torch
import torch.nn.functional as F
from torch import nn


class Walk:
    """A line of cells; the right end pays."""

    def __init__(self, size=8):
        self.size = size
        self.position = 0

    def reset(self):
        self.position = self.size // 2
        return self.observe()

    def observe(self):
        return F.one_hot(torch.tensor(self.position), self.size).float()

    def step(self, action):
        self.position += 1 if action else -1
        done = self.position in (0, self.size - 1)
        return self.observe(), float(self.position == self.size - 1), done


class Agent:
    def __init__(self, size, capacity=64):
        self.online = nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 2))
        self.target = nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 2))
        self.target.load_state_dict(self.online.state_dict())
        self.optimizer = torch.optim.Adam(self.online.parameters(), lr=1e-3)
        self.memory = deque(maxlen=capacity)
        self.td_error = 0.0
        self.gamma = 0.95

    @torch.no_grad()
    def act(self, state, epsilon):
        if random.random() < epsilon:
            return random.randrange(2)
        return int(self.online(state).argmax())

    def remember(self, *transition):
        self.memory.append(transition)

    def learn(self, batch_size=16):
        if len(self.memory) < batch_size:
            return
        batch = random.sample(self.memory, batch_size)
        states = torch.stack([state for state, *_ in batch])
        actions = torch.tensor([action for _, action, *_ in batch])
        rewards = torch.tensor([reward for _, _, reward, *_ in batch])
        following = torch.stack([after for *_, after, _ in batch])
        done = torch.tensor([end for *_, end in batch]).float()
        with torch.no_grad():
            best = self.target(following).max(dim=1).values
            wanted = rewards + self.gamma * best * (1 - done)
        chosen = self.online(states).gather(1, actions[:, None]).squeeze(1)
        loss = F.smooth_l1_loss(chosen, wanted)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.td_error = 0.9 * self.td_error + 0.1 * loss.item()


def train(agent, env, episodes):
    returns = deque(maxlen=10)
    for episode in range(episodes):
        state, total, done = env.reset(), 0.0, False
        while not done:
            action = agent.act(state, epsilon=0.5)
            after, reward, done = env.step(action)
            agent.remember(state, action, reward, after, done)
            agent.learn()
            state, total = after, total + reward
        returns.append(total)
        if episode % 4 == 0:
            agent.target.load_state_dict(agent.online.state_dict())
    return returns


def run():
    random.seed(0)
    env = Walk()
    agent = Agent(env.size)
    returns = train(agent, env, episodes=8)
    return list(returns), (agent, returns)
