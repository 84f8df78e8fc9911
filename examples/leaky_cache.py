"""Summaries of many samples that work, and keep every sample that was ever summarised.

It is written to be checked: `memlint check examples/` names the lines, `memlint fix --unsafe-fixes examples/` repairs
them, and the program prints the same numbers afterwards. It runs in a moment on a CPU:

    python examples/leaky_cache.py --draws 60
"""

from __future__ import annotations

import argparse
import functools

import torch


class Posterior:
    """What a sampler drew, and what is asked of it more than once."""

    def __init__(self, samples: torch.Tensor) -> None:
        self.samples = samples

    # The cache belongs to the class: it holds each posterior, with its samples, until the program ends.
    @property
    @functools.cache
    def mean(self) -> torch.Tensor:
        """The mean of each column."""
        return self.samples.mean(dim=0)

    def spread(self) -> torch.Tensor:
        """How far the samples lie from their mean."""
        return (self.samples - self.mean).pow(2).mean(dim=0).sqrt()


def main(argv: list[str] | None = None) -> None:
    """Draw, summarise, forget; print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=40)
    draws = parser.parse_args(argv).draws

    torch.manual_seed(0)
    means, spreads = torch.zeros(8), torch.zeros(8)
    for _ in range(draws):
        posterior = Posterior(torch.randn(4096, 8))
        means += posterior.mean
        spreads += posterior.spread()
    print(f"mean of the means:   {(means / draws).mean().item():+.4f}")
    print(f"mean of the spreads: {(spreads / draws).mean().item():+.4f}")


if __name__ == "__main__":
    main()
