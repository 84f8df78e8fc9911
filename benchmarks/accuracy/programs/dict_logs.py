"""Steps return a loss for backward and a dictionary for the log; a logger averages and forgets."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Criterion(nn.Module):
    def forward(self, model, sample):
        prediction, features = model(sample["input"])
        loss = F.mse_loss(prediction, sample["target"])
        penalty = features.square().mean()
        logging_output = {
            "loss": loss.item(),
            "penalty": penalty.detach(),
            "norm": features.detach().norm(dim=-1).mean(),
            "size": sample["target"].size(0),
        }
        return loss + 0.01 * penalty, logging_output

    @staticmethod
    def reduce_metrics(outputs):
        total = sum(log["size"] for log in outputs)
        return {key: sum(float(log[key]) for log in outputs) / total for key in ("loss", "penalty", "norm")}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(12, 40)
        self.head = nn.Linear(40, 1)

    def forward(self, x):
        features = torch.tanh(self.body(x))
        return self.head(features).squeeze(-1), features


class Trainer:
    def __init__(self, model, interval=4):
        self.model, self.criterion = model, Criterion()
        self.optimizer = torch.optim.Adam(model.parameters())
        self.interval = interval
        self.outputs = []
        self.metrics = {}

    def train_step(self, sample):
        self.optimizer.zero_grad()
        loss, log = self.criterion(self.model, sample)
        loss.backward()
        self.optimizer.step()
        return log

    def train(self, loader, epochs):
        for _ in range(epochs):
            for step, (x, y) in enumerate(loader, start=1):
                self.outputs.append(self.train_step({"input": x, "target": y}))
                if step % self.interval == 0:
                    self.metrics = self.criterion.reduce_metrics(self.outputs)
                    self.outputs.clear()


def run():
    trainer = Trainer(Net())
    trainer.train(DataLoader(TensorDataset(torch.randn(64, 12), torch.randn(64)), batch_size=8), epochs=2)
    return [trainer.metrics["loss"]], trainer
