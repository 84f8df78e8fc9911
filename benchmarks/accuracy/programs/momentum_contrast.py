"""Contrastive learning against a queue of keys from a momentum encoder."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


class MoCo(nn.Module):
    def __init__(self, width=16, size=32, momentum=0.9):
        super().__init__()
        self.query = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, width))
        self.key = copy.deepcopy(self.query)
        for parameter in self.key.parameters():
            parameter.requires_grad = False
        self.momentum, self.size = momentum, size
        self.register_buffer("queue", F.normalize(torch.randn(size, width), dim=1))
        self.pointer = 0

    @torch.no_grad()
    def momentum_update(self):
        for query, key in zip(self.query.parameters(), self.key.parameters()):
            key.data = self.momentum * key.data + (1 - self.momentum) * query.data

    @torch.no_grad()
    def enqueue(self, keys):
        count = keys.size(0)
        self.queue[self.pointer : self.pointer + count] = keys
        self.pointer = (self.pointer + count) % self.size

    def forward(self, one, other):
        q = F.normalize(self.query(one), dim=1)
        with torch.no_grad():
            self.momentum_update()
            k = F.normalize(self.key(other), dim=1)
        positive = (q * k).sum(dim=1, keepdim=True)
        negative = q @ self.queue.clone().t()
        logits = torch.cat([positive, negative], dim=1) / 0.1
        self.enqueue(k)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


class MemoryBank:
    """The last embeddings of a few samples that are watched."""

    def __init__(self, watched):
        self.rows = {index: None for index in watched}

    def update(self, indices, embeddings):
        for index, row in zip(indices.tolist(), embeddings):
            if index in self.rows:
                self.rows[index] = row.detach().clone()


def run():
    model, bank = MoCo(), MemoryBank(watched=[0, 3])
    optimizer = torch.optim.SGD(model.query.parameters(), lr=0.1)
    data = torch.randn(32, 10)
    loss_sum = 0.0
    for step in range(12):
        indices = torch.arange(step * 8, step * 8 + 8) % 32
        batch = data[indices]
        loss = model(batch + 0.1 * torch.randn_like(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item()
        bank.update(indices, model.query(batch))
    return [loss_sum > 0], (model, bank, loss_sum)
