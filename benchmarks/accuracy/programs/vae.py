"""A variational autoencoder with the parts of its loss kept apart."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class VAE(nn.Module):
    def __init__(self, inputs=36, hidden=48, latent=6):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, inputs))
        self.latent = latent

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(z), mean, log_variance

    def loss_function(self, reconstruction, x, mean, log_variance, weight=0.01):
        reconstruction_loss = F.mse_loss(reconstruction, x)
        kld = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()
        return {
            "loss": reconstruction_loss + weight * kld,
            "reconstruction": reconstruction_loss.detach(),
            "kld": kld.detach(),
        }

    @torch.no_grad()
    def sample(self, count):
        return self.decoder(torch.randn(count, self.latent))


class Experiment:
    def __init__(self, model):
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        self.last_parts = {}
        self.epoch_parts = []
        self.pictures = None

    def train(self, loader):
        self.epoch_parts = []
        train_loss = 0.0
        for (x,) in loader:
            parts = self.model.loss_function(*self.forward(x))
            self.optimizer.zero_grad()
            parts["loss"].backward()
            self.optimizer.step()
            train_loss += parts["loss"].item()
            self.epoch_parts.append((parts["reconstruction"], parts["kld"]))
        self.last_parts = {"reconstruction": float(parts["reconstruction"]), "kld": float(parts["kld"])}
        return train_loss / len(loader)

    def forward(self, x):
        reconstruction, mean, log_variance = self.model(x)
        return reconstruction, x, mean, log_variance

    def draw(self):
        self.pictures = self.model.sample(4).view(4, 6, 6)


def run():
    loader = DataLoader(TensorDataset(torch.rand(50, 36)), batch_size=10)
    experiment = Experiment(VAE())
    losses = []
    for _ in range(3):
        losses.append(experiment.train(loader))
        experiment.draw()
    return losses, (experiment, losses)
