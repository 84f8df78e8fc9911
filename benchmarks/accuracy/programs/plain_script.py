"""A training script at module level, as tutorials have it."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 3
DEVICE = "cuda"

model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 4)).to(DEVICE)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
train_loader = DataLoader(TensorDataset(torch.randn(64, 16), torch.randint(0, 4, (64,))), batch_size=8)
test_loader = DataLoader(TensorDataset(torch.randn(32, 16), torch.randint(0, 4, (32,))), batch_size=8)

epoch_losses = []
for epoch in range(EPOCHS):
    model.train()
    running_loss = 0.0
    for step, (images, labels) in enumerate(train_loader):
        images, labels = images.to(DEVICE), labels.to(DEVICE)
        optimizer.zero_grad()
        outputs = model(images)
        loss = F.cross_entropy(outputs, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        if step % 4 == 0:
            print(f"epoch {epoch} step {step}: {loss.item():.4f}")
    epoch_losses.append(running_loss / len(train_loader))

model.eval()
predictions, truths = [], []
test_loss = 0.0
with torch.no_grad():
    for images, labels in test_loader:
        logits = model(images.to(DEVICE))
        test_loss += float(F.cross_entropy(logits, labels.to(DEVICE), reduction="sum"))
        predictions.append(logits.softmax(dim=-1).cpu())
        truths.append(labels)
predictions = torch.cat(predictions)
truths = torch.cat(truths)
accuracy = (predictions.argmax(dim=-1) == truths).float().mean().item()
print(f"test loss {test_loss:.3f}, accuracy {accuracy:.3f}")


def run():
    return [accuracy], (model, epoch_losses, running_loss, test_loss, predictions)
