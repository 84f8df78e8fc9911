"""Actor-critic: a rollout is stored, learned from once, and thrown away."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Categorical


class ActorCritic(nn.Module):
    def __init__(self, inputs=6, actions=3, width=48):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, width), nn.Tanh())
        self.actor = nn.Linear(width, actions)
        self.critic = nn.Linear(width, 1)

    def forward(self, state):
        hidden = self.body(state)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1)


class Rollout:
    def __init__(self):
        self.states, self.actions, self.log_probs, self.rewards, self.values = [], [], [], [], []

    def add(self, state, action, log_prob, reward, value):
        self.states.append(state)
        self.actions.append(action)
        self.log_probs.append(log_prob.detach())
        self.rewards.append(reward)
        self.values.append(value.detach())

    def clear(self):
        self.states.clear()
        self.actions.clear()
        self.log_probs.clear()
        self.rewards.clear()
        self.values.clear()

    def returns(self, gamma=0.99):
        total, result = 0.0, []
        for reward in reversed(self.rewards):
            total = reward + gamma * total
            result.insert(0, total)
        return torch.stack(result)


class PPO:
    def __init__(self, policy, clip=0.2, epochs=2):
        self.policy = policy
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=3e-4)
        self.clip, self.epochs = clip, epochs
        self.rollout = Rollout()
        self.last_stats = {}

    def collect(self, steps, envs=4):
        state = torch.randn(envs, 6)
        for _ in range(steps):
            with torch.no_grad():
                distribution, value = self.policy(state)
                action = distribution.sample()
                log_prob = distribution.log_prob(action)
            reward = -state.square().mean(dim=-1)
            self.rollout.add(state, action, log_prob, reward, value)
            state = 0.9 * state + 0.1 * torch.randn(envs, 6)

    def update(self):
        states = torch.stack(self.rollout.states)
        actions = torch.stack(self.rollout.actions)
        old = torch.stack(self.rollout.log_probs)
        returns = self.rollout.returns()
        advantages = returns - torch.stack(self.rollout.values)
        for _ in range(self.epochs):
            distribution, values = self.policy(states)
            ratio = (distribution.log_prob(actions) - old).exp()
            clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
            policy_loss = -torch.min(ratio * advantages, clipped * advantages).mean()
            value_loss = F.mse_loss(values, returns)
            entropy = distribution.entropy().mean()
            loss = policy_loss + 0.5 * value_loss - 0.01 * entropy
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.last_stats = {
                "policy": policy_loss.item(),
                "value": value_loss.detach(),
                "entropy": entropy.detach(),
            }
        self.rollout.clear()


def run():
    agent = PPO(ActorCritic())
    for _ in range(3):
        agent.collect(steps=8)
        agent.update()
    return [agent.last_stats["policy"]], agent
