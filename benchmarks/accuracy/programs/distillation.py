"""A small student learns from a frozen teacher."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def mlp(*widths):
    layers = []
    for before, after in zip(widths, widths[1:]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Distiller:
    def __init__(self, teacher, student, temperature=2.0, alpha=0.5):
        self.teacher, self.student = teacher.eval(), student
        self.optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
        self.temperature, self.alpha = temperature, alpha
        self.agreement = []
        self.best_agreement = 0.0

    def soft_targets(self, x):
        with torch.no_grad():
            return F.softmax(self.teacher(x) / self.temperature, dim=-1)

    def loss(self, logits, soft, labels):
        soft_loss = F.kl_div(F.log_softmax(logits / self.temperature, dim=-1), soft, reduction="batchmean")
        return self.alpha * self.temperature**2 * soft_loss + (1 - self.alpha) * F.cross_entropy(logits, labels)

    def run_epoch(self, loader):
        total = 0.0
        for x, labels in loader:
            soft = self.soft_targets(x)
            logits = self.student(x)
            loss = self.loss(logits, soft, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
            self.agreement.append((logits.argmax(-1) == soft.argmax(-1)).float().mean().item())
        self.best_agreement = max(self.best_agreement, sum(self.agreement) / len(self.agreement))
        self.agreement.clear()
        return total / len(loader)

    @torch.inference_mode()
    def accuracy(self, loader):
        correct = count = 0
        for x, labels in loader:
            correct += (self.student(x).argmax(-1) == labels).sum().item()
            count += labels.numel()
        return correct / count


def run():
    loader = DataLoader(TensorDataset(torch.randn(60, 14), torch.randint(0, 3, (60,))), batch_size=12)
    distiller = Distiller(mlp(14, 128, 128, 3), mlp(14, 16, 3))
    losses = [distiller.run_epoch(loader) for _ in range(3)]
    accuracy = distiller.accuracy(loader)
    return losses, (distiller, losses, accuracy)
