"""A recurrent reader that weighs the words of a long text, with the two usual memory defects of such loops.

python examples/leaky_reader.py
memlint check examples/leaky_reader.py
"""

from __future__ import annotations

import argparse
import gc

import torch
from torch import nn

WORDS = 20
WIDTH = 16


class Reader(nn.Module):
    """Reads a stretch of text and hands on what it remembers of it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.rnn = nn.GRU(WIDTH, WIDTH)
        self.next_word = nn.Linear(WIDTH, WORDS)

    def forward(self, text, memory):
        """Scores of the next word at each place [length, batch, WORDS], and the memory behind the last one."""
        seen, memory = self.rnn(self.words(text), memory)
        return self.next_word(seen), memory


def importance(reader: Reader, stretches, memory):
    """How much each word's embedding matters for the next word, summed over a text. Nothing is trained here."""
    criterion = nn.CrossEntropyLoss()
    for number, text in enumerate(stretches):
        # Without a cut, this reaches back to the first word of the text; `retain_graph` only hides that.
        scores, memory = reader(text[:-1], memory)
        loss = criterion(scores.flatten(0, 1), text[1:].flatten())
        loss.backward(retain_graph=True)
        print(f"stretch {number}: loss {loss.item():.3f}")
        gc.collect()
        torch.cuda.empty_cache()
    return reader.words.weight.grad.norm(dim=1)


def main(arguments: list[str] | None = None) -> None:
    """Read some stretches of random text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stretches", type=int, default=6)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    text = [torch.randint(WORDS, (9, 2)) for _ in range(options.stretches)]
    weights = importance(Reader(), text, torch.zeros(1, 2, WIDTH))
    print(f"{len(weights)} words weighed")


if __name__ == "__main__":
    main()
