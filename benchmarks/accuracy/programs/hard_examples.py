"""Looks for the examples with the largest loss, trains on them, and remembers a few by number."""

import heapq
import queue
import threading

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Points(Dataset):
    def __init__(self, count=60):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(count, 7, generator=generator)
        self.y = (self.x.sum(dim=1) > 0).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return index, self.x[index], self.y[index]


class Prefetcher:
    """Makes batches on another thread, at most a few ahead."""

    def __init__(self, loader, ahead=2):
        self.batches = queue.Queue(maxsize=ahead)
        self.thread = threading.Thread(target=self.fill, args=(loader,), daemon=True)
        self.thread.start()

    def fill(self, loader):
        for batch in loader:
            self.batches.put(batch)
        self.batches.put(None)

    def __iter__(self):
        while (batch := self.batches.get()) is not None:
            yield batch

    def close(self):
        self.thread.join()


class HardMiner:
    def __init__(self, model, keep=5):
        self.model, self.keep = model, keep
        self.heap = []
        self.seen = {}

    @torch.no_grad()
    def scan(self, loader):
        self.heap.clear()
        for indices, x, y in loader:
            losses = F.cross_entropy(self.model(x), y, reduction="none")
            for index, loss in zip(indices.tolist(), losses.tolist()):
                heapq.heappush(self.heap, (loss, index))
                if len(self.heap) > self.keep:
                    heapq.heappop(self.heap)
        return [index for _, index in self.heap]


def train_on(model, optimizer, dataset, hard):
    batch = [dataset[index] for index in hard]
    x, y = torch.stack([row for _, row, _ in batch]), torch.stack([label for *_, label in batch])
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def run():
    dataset = Points()
    model = nn.Sequential(nn.Linear(7, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    miner, last = HardMiner(model), 0.0
    for _ in range(3):
        prefetcher = Prefetcher(DataLoader(dataset, batch_size=12))
        hard = miner.scan(prefetcher)
        prefetcher.close()
        last = train_on(model, optimizer, dataset, hard)
    return [len(hard)], (model, miner, last)
