"""Samples tokens from a small transformer, one at a time, with a window of context."""

import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY = 30


class TinyTransformer(nn.Module):
    def __init__(self, width=32, window=12):
        super().__init__()
        self.window = window
        self.embed = nn.Embedding(VOCABULARY, width)
        self.position = nn.Embedding(window, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens):
        x = self.embed(tokens) + self.position(torch.arange(tokens.size(1)))
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(x)

    @torch.no_grad()
    def generate(self, tokens, max_new_tokens, temperature=1.0, top_k=5):
        for _ in range(max_new_tokens):
            context = tokens[:, -self.window :]
            logits = self(context)[:, -1] / temperature
            threshold = logits.topk(top_k).values[:, -1:]
            logits = logits.masked_fill(logits < threshold, -float("inf"))
            following = torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)
            tokens = torch.cat([tokens, following], dim=1)
        return tokens


@torch.no_grad()
def score(model, texts):
    scores = []
    for text in texts:
        logits = model(text[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        scores.append(loss.item())
    return scores


def train(model, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    smoothed = None
    for _ in range(steps):
        batch = torch.randint(0, VOCABULARY, (8, model.window + 1))
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        smoothed = loss.item() if smoothed is None else 0.9 * smoothed + 0.1 * loss.item()
    return smoothed


def run():
    model = TinyTransformer()
    smoothed = train(model, steps=5)
    text = model.generate(torch.zeros(1, 1, dtype=torch.long), max_new_tokens=16)
    scores = score(model, [text[:, :10], text[:, 5:16]])
    return scores, (model, smoothed, text, scores)
