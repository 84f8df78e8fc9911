"""Nearest neighbours of queries in a gallery, a chunk at a time."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class RetrievalEvaluator:
    def __init__(self, model, device="cuda", k=3, chunk=8):
        self.model, self.device = model.to(device), device
        self.k, self.chunk = k, chunk
        self.reset()

    def reset(self):
        self.embeddings = []
        self.labels = []

    @torch.no_grad()
    def process(self, inputs, labels):
        embedding = F.normalize(self.model(inputs.to(self.device)), dim=-1)
        self.embeddings.append(embedding.to("cpu"))
        self.labels.append(labels)

    def evaluate(self):
        gallery, labels = torch.cat(self.embeddings), torch.cat(self.labels)
        hits, best = [], []
        for start in range(0, len(gallery), self.chunk):
            rows = gallery[start : start + self.chunk].to(self.device)
            similarity = rows @ gallery.to(self.device).t()
            values, indices = similarity.topk(self.k + 1, dim=1)
            neighbours = labels[indices.cpu()[:, 1:]]
            hits.append((neighbours == labels[start : start + self.chunk, None]).any(dim=1))
            best.append(values[:, 1].detach().cpu())
        result = {"recall": torch.cat(hits).float().mean().item(), "best": torch.cat(best).mean().item()}
        self.reset()
        return result


def triplet_step(model, optimizer, anchor, positive, negative):
    loss = F.triplet_margin_loss(model(anchor), model(positive), model(negative), margin=0.2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach().item()


def run():
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 16))
    evaluator = RetrievalEvaluator(model)
    optimizer = torch.optim.Adam(model.parameters())
    loader = DataLoader(TensorDataset(torch.randn(48, 20), torch.randint(0, 4, (48,))), batch_size=16)
    results, loss = [], 0.0
    for _ in range(2):
        for x, _ in loader:
            x = x.to(evaluator.device)
            loss = triplet_step(model, optimizer, x, x + 0.1, x.flip(0))
        for x, y in loader:
            evaluator.process(x, y)
        results.append(evaluator.evaluate())
    return [len(results)], (evaluator, results, loss)
