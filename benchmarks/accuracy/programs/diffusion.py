"""Denoising diffusion: trains on noise levels, samples by walking back, keeps the last estimate only."""

import torch
import torch.nn.functional as F
from torch import nn


class Denoiser(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, t):
        return self.net(torch.cat([x, t[:, None]], dim=1))


class Diffusion:
    def __init__(self, model, timesteps=10):
        self.model = model
        self.timesteps = timesteps
        self.alpha_bar = torch.linspace(0.99, 0.05, timesteps)

    def p_losses(self, x):
        t = torch.randint(0, self.timesteps, (x.size(0),))
        noise = torch.randn_like(x)
        scale = self.alpha_bar[t][:, None]
        noisy = scale.sqrt() * x + (1 - scale).sqrt() * noise
        return F.mse_loss(self.model(noisy, t / self.timesteps), noise)

    @torch.inference_mode()
    def sample(self, count, keep_every=4):
        x = torch.randn(count, 2)
        frames = []
        for step in reversed(range(self.timesteps)):
            t = torch.full((count,), step / self.timesteps)
            scale = self.alpha_bar[step]
            start = (x - (1 - scale).sqrt() * self.model(x, t)) / scale.sqrt()
            following = self.alpha_bar[step - 1] if step else torch.tensor(1.0)
            x = following.sqrt() * start + (1 - following).sqrt() * torch.randn_like(x)
            if step % keep_every == 0:
                frames.append(x[:2].clone())
        return x, frames


class DiffusionTrainer:
    def __init__(self, diffusion, lr=1e-3, decay=0.95):
        self.diffusion = diffusion
        self.optimizer = torch.optim.Adam(diffusion.model.parameters(), lr=lr)
        self.decay = decay
        self.smooth_loss = None
        self.samples = None

    def train(self, data, steps, sample_every=5, batch=16):
        for step in range(1, steps + 1):
            rows = torch.randint(0, len(data), (batch,))
            loss = self.diffusion.p_losses(data[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            value = loss.detach()
            before = value if self.smooth_loss is None else self.smooth_loss
            self.smooth_loss = self.decay * before + (1 - self.decay) * value
            if step % sample_every == 0:
                self.samples, frames = self.diffusion.sample(8)
                del frames


def run():
    angle = torch.rand(64) * 6.28
    data = torch.stack([angle.cos(), angle.sin()], dim=1)
    trainer = DiffusionTrainer(Diffusion(Denoiser()))
    trainer.train(data, steps=10)
    return [trainer.smooth_loss.item() > 0], trainer
