"""A recurrent policy whose memory is cut at every update and emptied at the start of an episode."""

import torch
import torch.nn.functional as F
from torch import nn


class RecurrentPolicy(nn.Module):
    def __init__(self, inputs=5, width=24, actions=3):
        super().__init__()
        self.cell = nn.GRUCell(inputs, width)
        self.policy = nn.Linear(width, actions)
        self.value = nn.Linear(width, 1)
        self.width = width

    def initial_state(self, batch):
        return torch.zeros(batch, self.width)

    def forward(self, observation, state):
        state = self.cell(observation, state)
        return self.policy(state), self.value(state).squeeze(-1), state


class Worker:
    def __init__(self, policy, unroll=5, envs=4):
        self.policy, self.unroll, self.envs = policy, unroll, envs
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
        self.state = policy.initial_state(envs)
        self.observation = torch.randn(envs, 5)
        self.last_loss = 0.0
        self.steps = 0

    def env_step(self, action):
        self.steps += 1
        reward = (action == 1).float()
        done = self.steps % 20 == 0
        return torch.randn(self.envs, 5), reward, done

    def update(self):
        self.state = self.state.detach()
        log_probs, values, rewards = [], [], []
        for _ in range(self.unroll):
            logits, value, self.state = self.policy(self.observation, self.state)
            action = torch.distributions.Categorical(logits=logits).sample()
            log_probs.append(F.log_softmax(logits, dim=-1).gather(1, action[:, None]).squeeze(1))
            values.append(value)
            self.observation, reward, done = self.env_step(action)
            rewards.append(reward)
            if done:
                self.state = self.policy.initial_state(self.envs)
        total, loss = torch.zeros(self.envs), 0.0
        for log_prob, value, reward in zip(reversed(log_probs), reversed(values), reversed(rewards)):
            total = reward + 0.9 * total
            advantage = total - value
            loss = loss - (log_prob * advantage.detach()).mean() + 0.5 * advantage.square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.last_loss = loss.item()


def run():
    worker = Worker(RecurrentPolicy())
    for _ in range(10):
        worker.update()
    worker.state = worker.state.detach()
    return [worker.steps], worker
