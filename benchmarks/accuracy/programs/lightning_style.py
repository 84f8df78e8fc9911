"""A module with hooks for steps and epochs, and the loop that calls them."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, width), nn.GELU(), nn.Linear(width, 2))
        self.validation_step_outputs = []
        self.logged = {}

    def forward(self, x):
        return self.net(x)

    def log(self, name, value):
        self.logged[name] = value

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        self.validation_step_outputs.append({"loss": loss, "logits": logits, "target": y})
        return loss

    def on_validation_epoch_end(self):
        outputs = self.validation_step_outputs
        logits = torch.cat([out["logits"] for out in outputs])
        target = torch.cat([out["target"] for out in outputs])
        self.log("val/accuracy", (logits.argmax(-1) == target).float().mean().item())
        self.log("val/loss", torch.stack([out["loss"] for out in outputs]).mean().item())
        self.validation_step_outputs.clear()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Runner:
    def __init__(self, max_epochs):
        self.max_epochs = max_epochs
        self.progress = {}

    def fit(self, module, train_loader, val_loader):
        optimizer = module.configure_optimizers()
        for _ in range(self.max_epochs):
            module.train()
            for batch_idx, batch in enumerate(train_loader):
                optimizer.zero_grad()
                loss = module.training_step(batch, batch_idx)
                loss.backward()
                optimizer.step()
                self.progress["loss"] = loss.item()
            self.evaluate(module, val_loader)

    def evaluate(self, module, val_loader):
        module.eval()
        with torch.no_grad():
            for batch_idx, batch in enumerate(val_loader):
                module.validation_step(batch, batch_idx)
            module.on_validation_epoch_end()


def run():
    data = TensorDataset(torch.randn(64, 10), torch.randint(0, 2, (64,)))
    module, runner = Classifier(), Runner(max_epochs=3)
    runner.fit(module, DataLoader(data, batch_size=16), DataLoader(data, batch_size=16))
    return [module.logged["val/loss"]], (module, runner)
