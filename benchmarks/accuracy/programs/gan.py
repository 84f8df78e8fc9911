"""A generator against a discriminator, with samples of a fixed noise kept for looking at."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = torch.device("cuda")
LATENT = 8


def discriminator():
    return nn.Sequential(nn.Linear(32, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))


def generator():
    return nn.Sequential(nn.Linear(LATENT, 64), nn.ReLU(), nn.Linear(64, 32), nn.Tanh())


class GanTrainer:
    def __init__(self, keep_samples=2):
        self.g, self.d = generator().to(device), discriminator().to(device)
        self.opt_g = torch.optim.Adam(self.g.parameters(), lr=2e-4)
        self.opt_d = torch.optim.Adam(self.d.parameters(), lr=2e-4)
        self.criterion = nn.BCEWithLogitsLoss()
        self.fixed_noise = torch.randn(16, LATENT, device=device)
        self.samples = []
        self.keep_samples = keep_samples
        self.log = {"g": 0.0, "d": 0.0}

    def step(self, real):
        size = real.size(0)
        ones, zeros = torch.ones(size, 1, device=device), torch.zeros(size, 1, device=device)
        noise = torch.randn(size, LATENT, device=device)

        fake = self.g(noise)
        self.opt_d.zero_grad()
        loss_d = self.criterion(self.d(real), ones) + self.criterion(self.d(fake.detach()), zeros)
        loss_d.backward()
        self.opt_d.step()

        self.opt_g.zero_grad()
        loss_g = self.criterion(self.d(fake), ones)
        loss_g.backward()
        self.opt_g.step()
        return {"g": loss_g.detach(), "d": loss_d.detach()}

    def train(self, loader, epochs):
        for _ in range(epochs):
            totals = {"g": 0.0, "d": 0.0}
            for (real,) in loader:
                for name, value in self.step(real.to(device)).items():
                    totals[name] += value.item()
            self.log = {name: total / len(loader) for name, total in totals.items()}
            self.snapshot()

    def snapshot(self):
        with torch.no_grad():
            self.samples.append(self.g(self.fixed_noise).cpu())
        self.samples = self.samples[-self.keep_samples :]


def run():
    loader = DataLoader(TensorDataset(torch.randn(48, 32)), batch_size=16)
    trainer = GanTrainer()
    trainer.train(loader, epochs=4)
    return [sorted(trainer.log)], trainer
