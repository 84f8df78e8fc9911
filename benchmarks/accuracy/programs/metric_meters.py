"""Meters that are updated with every batch and reset with every epoch."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class AverageMeter:
    def __init__(self, name):
        self.name = name
        self.reset()

    def reset(self):
        self.value = 0.0
        self.sum = 0.0
        self.count = 0

    def update(self, value, n=1):
        self.value = value
        self.sum += value * n
        self.count += n

    @property
    def average(self):
        return self.sum / max(1, self.count)


class RankMeter:
    """Needs all scores of an epoch at once."""

    def __init__(self):
        self.scores, self.targets = [], []

    def update(self, scores, targets):
        self.scores.append(scores.detach().cpu())
        self.targets.append(targets.cpu())

    def compute(self):
        scores, targets = torch.cat(self.scores), torch.cat(self.targets)
        order = scores.argsort(descending=True)
        hits = targets[order].float().cumsum(0)
        return (hits / torch.arange(1, len(hits) + 1)).mean().item()

    def reset(self):
        self.scores.clear()
        self.targets.clear()


class Engine:
    def __init__(self, model, device="cuda"):
        self.model = model.to(device)
        self.device = device
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        self.loss_meter = AverageMeter("loss")
        self.rank = RankMeter()
        self.summary = {}

    def train(self, loader):
        self.loss_meter.reset()
        self.rank.reset()
        for x, y in loader:
            x, y = x.to(self.device), y.to(self.device)
            scores = self.model(x).squeeze(-1)
            loss = nn.functional.binary_cross_entropy_with_logits(scores, y.float())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.loss_meter.update(loss.item(), x.size(0))
            self.rank.update(scores, y)
        self.summary = {"loss": self.loss_meter.average, "rank": self.rank.compute()}


def run():
    data = TensorDataset(torch.randn(96, 20), torch.randint(0, 2, (96,)))
    engine = Engine(nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 1)))
    for _ in range(3):
        engine.train(DataLoader(data, batch_size=16))
    return [engine.loss_meter.count], engine
