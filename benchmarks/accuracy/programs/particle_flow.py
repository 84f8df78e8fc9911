"""Particles drift, spawn and die; how many there may be is limited, and so is what is recorded."""

from collections import deque

import torch


class Particles:
    def __init__(self, limit=48, low=0.0, high=10.0):
        self.limit, self.low, self.high = limit, low, high
        self.position = torch.rand(16, 2) * high
        self.energy = torch.ones(16)

    def move(self, velocity):
        self.position = (self.position + velocity).clamp(self.low, self.high)
        self.energy = self.energy * 0.97

    def spawn(self, count):
        if len(self.position) + count <= self.limit:
            self.position = torch.cat([self.position, torch.rand(count, 2) * self.high])
            self.energy = torch.cat([self.energy, torch.ones(count)])

    def cull(self):
        alive = self.energy > 0.5
        self.position = self.position[alive].clone()
        self.energy = self.energy[alive].clone()


class Event:
    def __init__(self, step, kind, where):
        self.step, self.kind, self.where = step, kind, where


class Simulation:
    def __init__(self, trail=5, max_events=12):
        self.particles = Particles()
        self.trail = deque(maxlen=trail)
        self.events = []
        self.max_events = max_events
        self.step_count = 0
        self.mean_energy = 0.0

    def step(self):
        self.particles.move(0.2 * torch.randn_like(self.particles.position))
        self.particles.spawn(3)
        self.particles.cull()
        self.trail.append(self.particles.position.mean(dim=0).tolist())
        self.events.append(Event(self.step_count, "spawn", self.particles.position[-1].clone()))
        if len(self.events) > self.max_events:
            del self.events[: -self.max_events]
        self.mean_energy = self.particles.energy.mean().item()
        self.step_count += 1

    def run(self, steps):
        while self.step_count < steps:
            self.step()


def run():
    simulation = Simulation()
    simulation.run(steps=60)
    return [simulation.step_count, len(simulation.trail)], simulation
