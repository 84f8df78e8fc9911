"""Large batches from small ones: the loss of a batch is summed up as a number, gradients add up by themselves."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def parse_config():
    return {"epochs": 2, "accumulate": 4, "clip": 1.0, "lr": 1e-3, "log_every": 2}


class Accumulator:
    """A sum on the device, read once per interval."""

    def __init__(self):
        self.total = torch.zeros(())
        self.count = 0

    def add(self, value):
        self.total += value.detach()
        self.count += 1

    def read(self):
        mean = (self.total / max(1, self.count)).item()
        self.total.zero_()
        self.count = 0
        return mean


def train(model, loader, config):
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
    accumulator = Accumulator()
    history = []
    batch_loss, updates = 0.0, 0
    for _ in range(config["epochs"]):
        for index, (x, y) in enumerate(loader):
            loss = nn.functional.cross_entropy(model(x), y) / config["accumulate"]
            loss.backward()
            accumulator.add(loss)
            batch_loss += loss.item()
            if (index + 1) % config["accumulate"] == 0:
                norm = nn.utils.clip_grad_norm_(model.parameters(), config["clip"])
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                updates += 1
                if updates % config["log_every"] == 0:
                    print(f"update {updates}: {batch_loss:.4f} {float(norm):.3f}")
                batch_loss = 0.0
        history.append(accumulator.read())
    return history, updates, batch_loss


def run():
    config = parse_config()
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 5))
    loader = DataLoader(TensorDataset(torch.randn(64, 16), torch.randint(0, 5, (64,))), batch_size=4)
    history, updates, rest = train(model, loader, config)
    return history, (model, history, updates, rest)
