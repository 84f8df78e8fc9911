"""Callbacks that know their trainer weakly, a log that is flushed, and a monitor of gradients."""

import weakref

import torch
from torch import nn


class Callback:
    def __init__(self, trainer):
        self.trainer = weakref.ref(trainer)

    def on_step(self, loss):
        pass

    def on_epoch_end(self):
        pass


class JsonLog(Callback):
    def __init__(self, trainer, flush_every=5):
        super().__init__(trainer)
        self.rows, self.written = [], 0
        self.flush_every = flush_every

    def on_step(self, loss):
        self.rows.append({"step": self.trainer().global_step, "loss": loss.item()})
        if len(self.rows) >= self.flush_every:
            self.flush()

    def on_epoch_end(self):
        self.flush()

    def flush(self):
        with open("log.txt", "a") as file:
            for row in self.rows:
                file.write(f"{row}\n")
        self.written += len(self.rows)
        self.rows.clear()


class GradientMonitor(Callback):
    def __init__(self, trainer):
        super().__init__(trainer)
        self.norms = {}

    def on_step(self, loss):
        for name, parameter in self.trainer().model.named_parameters():
            self.norms[name] = parameter.grad.norm().item()


class LossPlot(Callback):
    def __init__(self, trainer):
        super().__init__(trainer)
        self.epoch_losses = []
        self.curve = []

    def on_step(self, loss):
        self.epoch_losses.append(loss.detach())

    def on_epoch_end(self):
        self.curve.append(torch.stack(self.epoch_losses).mean().item())
        self.epoch_losses = []


class Trainer:
    def __init__(self, model):
        self.model = model
        self.global_step = 0
        self.callbacks = [JsonLog(self), GradientMonitor(self), LossPlot(self)]
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def fit(self, epochs, steps_per_epoch=7):
        for _ in range(epochs):
            for _ in range(steps_per_epoch):
                x = torch.randn(12, 6)
                loss = nn.functional.mse_loss(self.model(x), x[:, :2])
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.global_step += 1
                for callback in self.callbacks:
                    callback.on_step(loss)
            for callback in self.callbacks:
                callback.on_epoch_end()


def run():
    trainer = Trainer(nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 2)))
    trainer.fit(epochs=3)
    callbacks = trainer.callbacks
    return [callbacks[0].written, trainer.global_step], (callbacks, trainer.model)
