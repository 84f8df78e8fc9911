"""An exponential moving average of the weights, swapped in for evaluation."""

import torch
from torch import nn


class EMA:
    def __init__(self, model, decay=0.9):
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.backup = {}

    @torch.no_grad()
    def update(self, model):
        for name, parameter in model.named_parameters():
            self.shadow[name] = self.decay * self.shadow[name] + (1 - self.decay) * parameter

    def apply(self, model):
        for name, parameter in model.named_parameters():
            self.backup[name] = parameter.data.clone()
            parameter.data.copy_(self.shadow[name])

    def restore(self, model):
        for name, parameter in model.named_parameters():
            parameter.data.copy_(self.backup[name])
        self.backup.clear()


def make_batch(size=16):
    x = torch.randn(size, 8)
    return x, x.sum(dim=1, keepdim=True)


def train_step(model, ema, optimizer, batch):
    x, y = batch
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    ema.update(model)
    return loss.item()


@torch.no_grad()
def evaluate(model, ema, batches):
    ema.apply(model)
    total = 0.0
    for x, y in batches:
        total += nn.functional.mse_loss(model(x), y).item()
    ema.restore(model)
    return total / len(batches)


def run():
    model = nn.Sequential(nn.Linear(8, 48), nn.SiLU(), nn.Linear(48, 1))
    ema = EMA(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    batches = [make_batch() for _ in range(3)]
    smooth, scores = None, []
    for step in range(20):
        loss = train_step(model, ema, optimizer, make_batch())
        smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
        if step % 10 == 9:
            scores.append(evaluate(model, ema, batches))
    return scores, (model, ema, smooth, scores)
