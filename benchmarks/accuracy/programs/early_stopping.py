"""Stops when the validation loss has not improved over a window, and goes back to the best weights."""

import torch
from torch import nn


class EarlyStopping:
    def __init__(self, patience=3):
        self.patience = patience
        self.window = []
        self.best = float("inf")
        self.weights = {}

    def update(self, model, loss):
        self.window.append(loss)
        self.window = self.window[-self.patience :]
        if loss < self.best:
            self.best = loss
            self.weights = {name: value.cpu().clone() for name, value in model.state_dict().items()}

    def should_stop(self):
        return len(self.window) == self.patience and min(self.window) > self.best

    def restore(self, model):
        model.load_state_dict(self.weights)
        self.weights = {}


def synthetic(count):
    x = torch.randn(count, 9)
    return x, (x[:, 0] * x[:, 1]).unsqueeze(-1)


def fit(model, stopper, epochs=12, batch=16):
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-2)
    x_train, y_train = synthetic(64)
    x_val, y_val = synthetic(32)
    for epoch in range(epochs):
        model.train()
        for start in range(0, len(x_train), batch):
            rows = slice(start, start + batch)
            loss = nn.functional.mse_loss(model(x_train[rows]), y_train[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            val_loss = nn.functional.mse_loss(model(x_val), y_val)
        stopper.update(model, val_loss.item())
        if stopper.should_stop():
            break
    stopper.restore(model)
    return epoch


def run():
    model = nn.Sequential(nn.Linear(9, 64), nn.ReLU(), nn.Linear(64, 1))
    stopper = EarlyStopping()
    last = fit(model, stopper)
    return [last], (model, stopper)
