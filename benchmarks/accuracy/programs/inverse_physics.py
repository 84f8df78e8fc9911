"""Fits the constants of a differentiable simulation to what was measured, window by window."""

import torch


class Spring:
    def __init__(self, stiffness, damping):
        self.stiffness, self.damping = stiffness, damping

    def step(self, state, dt=0.05):
        position, velocity = state
        force = -self.stiffness * position - self.damping * velocity
        velocity = velocity + dt * force
        return position + dt * velocity, velocity


def measure(steps, count=16):
    """What a true spring does."""
    true = Spring(torch.tensor(2.0), torch.tensor(0.3))
    state = (torch.linspace(0.5, 1.5, count), torch.zeros(count))
    positions = []
    with torch.no_grad():
        for _ in range(steps):
            state = true.step(state)
            positions.append(state[0])
    return torch.stack(positions)


class Fitter:
    def __init__(self, window=5, keep=4):
        self.stiffness = torch.tensor(1.0, requires_grad=True)
        self.damping = torch.tensor(0.1, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.stiffness, self.damping], lr=0.05)
        self.window, self.keep = window, keep
        self.estimates = []
        self.residual = None

    def fit(self, measured):
        model = Spring(self.stiffness, self.damping)
        state = (torch.linspace(0.5, 1.5, measured.size(1)), torch.zeros(measured.size(1)))
        for start in range(0, len(measured) - self.window + 1, self.window):
            state = tuple(part.detach() for part in state)
            errors = []
            for offset in range(self.window):
                state = model.step(state)
                errors.append((state[0] - measured[start + offset]).square().mean())
            loss = torch.stack(errors).sum()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.residual = errors[-1].detach()
            self.estimates.append((self.stiffness.item(), self.damping.item()))
            if len(self.estimates) > self.keep:
                self.estimates.pop(0)
        return state[0].detach()


def run():
    measured = measure(steps=40)
    fitter = Fitter()
    last = fitter.fit(measured)
    return [len(fitter.estimates)], (fitter, last)
