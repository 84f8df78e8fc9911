"""Running statistics of a stream, and a few rows of it kept for looking at."""

import torch
from torch import nn


class RunningMeanStd:
    def __init__(self, width):
        self.mean = torch.zeros(width)
        self.var = torch.ones(width)
        self.count = 1e-4

    @torch.no_grad()
    def update(self, batch):
        mean, var, count = batch.mean(dim=0), batch.var(dim=0), batch.shape[0]
        delta = mean - self.mean
        total = self.count + count
        self.mean = self.mean + delta * count / total
        m2 = self.var * self.count + var * count + delta.square() * self.count * count / total
        self.var = m2 / total
        self.count = total

    def normalize(self, batch):
        return (batch - self.mean) / (self.var + 1e-8).sqrt()


class Reservoir:
    """A fixed number of rows, each as likely as any other to be kept."""

    def __init__(self, size):
        self.size, self.seen = size, 0
        self.rows = []

    def offer(self, batch):
        for row in batch:
            self.seen += 1
            if len(self.rows) < self.size:
                self.rows.append(row.clone())
            else:
                place = int(torch.randint(0, self.seen, ()))
                if place < self.size:
                    self.rows[place] = row.clone()


class Whitening(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stats = RunningMeanStd(width)
        self.mix = nn.Linear(width, width)

    def forward(self, x):
        if self.training:
            self.stats.update(x)
        return self.mix(self.stats.normalize(x))


def frames(count, size=64, width=32):
    for index in range(count):
        yield index * 0.1 + torch.randn(size, width)


@torch.no_grad()
def watch(model, stream, reservoir, every=5):
    corner, spread = None, 0.0
    for index, frame in enumerate(stream):
        output = model(frame)
        spread = 0.9 * spread + 0.1 * output.std().item()
        if index % every == 0:
            reservoir.offer(frame[::16])
            corner = output[:2, :2].clone()
    return corner, spread


def run():
    model, reservoir = Whitening(32), Reservoir(size=6)
    corner, spread = watch(model, frames(12), reservoir)
    return [reservoir.seen], (model, reservoir, corner, spread)
