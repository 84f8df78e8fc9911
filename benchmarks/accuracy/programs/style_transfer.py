"""Optimises an image towards the content of one picture and the style of another."""

import torch
import torch.nn.functional as F
from torch import nn


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 16, 3, stride=2, padding=1)

    def forward(self, image):
        first = torch.relu(self.one(image))
        return first, torch.relu(self.two(first))


def gram(features):
    batch, channels, height, width = features.shape
    flat = features.view(batch, channels, height * width)
    return flat @ flat.transpose(1, 2) / (channels * height * width)


class StyleTransfer:
    def __init__(self, content, style, lr=0.05, keep_frames=2):
        self.net = Features().eval().requires_grad_(False)
        self.content = self.net(content)[1].detach()
        self.styles = [gram(features).detach() for features in self.net(style)]
        self.image = content.clone().requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.image], lr=lr)
        self.frames = []
        self.keep_frames = keep_frames
        self.best = (float("inf"), None)

    def step(self):
        features = self.net(self.image)
        content_loss = F.mse_loss(features[1], self.content)
        style_loss = sum(F.mse_loss(gram(f), target) for f, target in zip(features, self.styles))
        loss = content_loss + 100 * style_loss
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.image.clamp_(0, 1)
        if loss.item() < self.best[0]:
            self.best = (loss.item(), self.image.detach().clone())
        return {"content": content_loss.item(), "style": float(style_loss)}

    def transfer(self, steps, every=3):
        parts = {}
        for step in range(steps):
            parts = self.step()
            if step % every == 0:
                self.frames.append(self.image.detach().cpu().clone())
                if len(self.frames) > self.keep_frames:
                    self.frames.pop(0)
        return parts


def run():
    transfer = StyleTransfer(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
    parts = transfer.transfer(steps=12)
    return [parts["content"] > 0], (transfer, parts)
