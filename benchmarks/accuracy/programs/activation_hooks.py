"""Reads the activations of some layers through hooks that are taken off again."""

import torch
from torch import nn


class ActivationRecorder:
    def __init__(self, model, names):
        self.model, self.names = model, names
        self.handles = []
        self.activations = {}

    def __enter__(self):
        modules = dict(self.model.named_modules())
        for name in self.names:
            self.handles.append(modules[name].register_forward_hook(self.hook(name)))
        return self

    def hook(self, name):
        def save(module, inputs, output):
            self.activations[name] = output.detach()

        return save

    def __exit__(self, *exception):
        for handle in self.handles:
            handle.remove()
        self.handles.clear()


def build():
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))


def layer_norms(model, batches):
    norms = {}
    with ActivationRecorder(model, ["1", "3"]) as recorder:
        for batch in batches:
            model(batch)
            for name, activation in recorder.activations.items():
                norms[name] = norms.get(name, 0.0) + activation.norm().item()
    return norms


def finetune(model, steps):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    gradients = []
    handle = model[2].register_full_backward_hook(lambda module, inputs, outputs: gradients.append(outputs[0].norm()))
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 10)).square().mean().backward()
        optimizer.step()
    largest = float(max(gradients))
    handle.remove()
    gradients.clear()
    return largest


def run():
    model = build()
    before = layer_norms(model, [torch.randn(8, 10) for _ in range(4)])
    largest = finetune(model, steps=6)
    after = layer_norms(model, [torch.randn(8, 10) for _ in range(4)])
    return [sorted(before), largest > 0], (model, before, after)
