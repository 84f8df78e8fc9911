"""A cache of embeddings that drops what has not been asked for in a while."""

from collections import OrderedDict
from functools import lru_cache

import torch
from torch import nn


class EmbeddingCache:
    def __init__(self, limit=8):
        self.limit = limit
        self.entries = OrderedDict()

    def get(self, key):
        if key in self.entries:
            self.entries.move_to_end(key)
            return self.entries[key]
        return None

    def put(self, key, value):
        self.entries[key] = value
        if len(self.entries) > self.limit:
            self.entries.popitem(last=False)


class Encoder:
    def __init__(self, device="cuda"):
        self.device = device
        self.net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64)).to(device).eval()
        self.cache = EmbeddingCache()
        self.tables = {}

    @torch.no_grad()
    def encode(self, text):
        cached = self.cache.get(text)
        if cached is not None:
            return cached
        vector = self.net(features(text).to(self.device)).cpu()
        self.cache.put(text, vector)
        return vector

    def positions(self, length):
        if length not in self.tables:
            if len(self.tables) >= 4:
                self.tables.clear()
            self.tables[length] = torch.arange(length).float()[:, None] * torch.ones(1, 64)
        return self.tables[length]


@lru_cache(maxsize=16)
def features(text):
    codes = [ord(letter) % 32 for letter in text]
    return torch.bincount(torch.tensor(codes), minlength=32).float()


class SearchService:
    def __init__(self, encoder, documents):
        self.encoder = encoder
        self.index = torch.stack([encoder.encode(text) for text in documents])

    def query(self, text):
        position = self.encoder.positions(len(text)).mean()
        scores = self.index @ self.encoder.encode(text) + position
        return int(scores.argmax())


def serve(service, requests):
    hits = 0
    for request in requests:
        hits += service.query(request) >= 0
    return hits


def run():
    encoder = Encoder()
    service = SearchService(encoder, ["alpha", "beta", "gamma"])
    hits = serve(service, [f"request {'x' * (i % 10)}{i}" for i in range(40)])
    return [hits], (encoder, service, features)
