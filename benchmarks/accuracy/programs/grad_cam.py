"""Class activation maps from the activations and the gradients of one layer."""

import torch
import torch.nn.functional as F
from torch import nn


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, image):
        return self.head(self.features(image).mean(dim=(2, 3)))


class ActivationsAndGradients:
    def __init__(self, model, layer):
        self.model = model
        self.activations, self.gradients = [], []
        self.handles = [layer.register_forward_hook(self.save)]

    def save(self, module, inputs, output):
        self.activations.append(output.detach())
        if output.requires_grad:
            output.register_hook(lambda gradient: self.gradients.append(gradient.detach()))

    def __call__(self, image):
        self.activations = []
        self.gradients = []
        return self.model(image)

    def release(self):
        for handle in self.handles:
            handle.remove()
        self.handles = []


class GradCAM:
    def __init__(self, model, layer):
        self.model = model
        self.grads = ActivationsAndGradients(model, layer)

    def __call__(self, image, category):
        self.model.zero_grad()
        scores = self.grads(image)
        scores[:, category].sum().backward()
        activation, gradient = self.grads.activations[-1], self.grads.gradients[-1]
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        heat = F.relu((weights * activation).sum(dim=1))
        return heat / (heat.amax(dim=(1, 2), keepdim=True) + 1e-6)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.grads.release()


def explain(model, images):
    maps = []
    with GradCAM(model, model.features[0]) as cam:
        for image in images:
            maps.append(cam(image, category=1).cpu())
    return torch.stack(maps).mean(dim=0)


def run():
    model = SmallNet()
    images = [torch.rand(1, 1, 8, 8) for _ in range(4)]
    first, second = explain(model, images), explain(model, images)
    return [first.shape[-1]], (model, first, second)
