"""A trainer with a window of recent losses, validation, and a checkpoint that it goes on from."""

from collections import deque

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, model, lr=1e-2, window=4, path="trainer.pt"):
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        self.criterion = nn.CrossEntropyLoss()
        self.recent = deque(maxlen=window)
        self.val_losses = []
        self.path = path
        self.epoch = 0

    def fit(self, train_loader, val_loader, epochs):
        for _ in range(epochs):
            self.val_losses = []
            self.train_epoch(train_loader)
            self.validate(val_loader)
            self.save()
            self.epoch += 1

    def train_epoch(self, loader):
        self.model.train()
        for inputs, targets in loader:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(inputs), targets)
            loss.backward()
            self.optimizer.step()
            self.recent.append(loss.detach())

    @torch.no_grad()
    def validate(self, loader):
        self.model.eval()
        for inputs, targets in loader:
            loss = self.criterion(self.model(inputs), targets)
            self.val_losses.append(loss.item())

    def save(self):
        torch.save({"model": self.model.state_dict(), "epoch": self.epoch}, self.path)

    def resume(self):
        checkpoint = torch.load(self.path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(checkpoint["model"])
        self.epoch = checkpoint["epoch"] + 1


def loaders():
    data = TensorDataset(torch.randn(48, 12), torch.randint(0, 3, (48,)))
    return DataLoader(data, batch_size=8, shuffle=True), DataLoader(data, batch_size=16)


def run():
    train_loader, val_loader = loaders()
    trainer = Trainer(nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 3)))
    trainer.fit(train_loader, val_loader, epochs=3)
    trainer.resume()
    trainer.fit(train_loader, val_loader, epochs=1)
    return list(trainer.val_losses), trainer
