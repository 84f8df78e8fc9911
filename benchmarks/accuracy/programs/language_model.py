"""A recurrent language model trained by truncated backpropagation through time."""

import math

import torch
from torch import nn


class RNNModel(nn.Module):
    def __init__(self, vocabulary=20, width=24):
        super().__init__()
        self.encoder = nn.Embedding(vocabulary, width)
        self.rnn = nn.LSTM(width, width)
        self.decoder = nn.Linear(width, vocabulary)
        self.width = width

    def forward(self, tokens, hidden):
        output, hidden = self.rnn(self.encoder(tokens), hidden)
        return self.decoder(output), hidden

    def init_hidden(self, batch):
        return torch.zeros(1, batch, self.width), torch.zeros(1, batch, self.width)


def batchify(tokens, batch):
    length = tokens.size(0) // batch
    return tokens[: length * batch].view(batch, length).t().contiguous()


def get_batch(source, start, bptt):
    length = min(bptt, len(source) - 1 - start)
    return source[start : start + length], source[start + 1 : start + 1 + length].reshape(-1)


def train_epoch(model, source, optimizer, criterion, bptt=5):
    model.train()
    total_loss, steps = 0.0, 0
    hidden = model.init_hidden(source.size(1))
    for start in range(0, source.size(0) - 1, bptt):
        data, targets = get_batch(source, start, bptt)
        hidden = tuple(state.detach() for state in hidden)
        optimizer.zero_grad()
        output, hidden = model(data, hidden)
        loss = criterion(output.view(-1, output.size(-1)), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        total_loss += loss.item()
        steps += 1
    return total_loss / steps


def evaluate(model, source, criterion, bptt=5):
    model.eval()
    total = 0.0
    hidden = model.init_hidden(source.size(1))
    with torch.no_grad():
        for start in range(0, source.size(0) - 1, bptt):
            data, targets = get_batch(source, start, bptt)
            output, hidden = model(data, hidden)
            total += len(data) * criterion(output.view(-1, output.size(-1)), targets).item()
    return total / (len(source) - 1)


def run():
    corpus = torch.randint(0, 20, (200,))
    train_data, val_data = batchify(corpus, 4), batchify(corpus[:100], 4)
    model = RNNModel()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    criterion = nn.CrossEntropyLoss()
    best = math.inf
    for _ in range(2):
        train_loss = train_epoch(model, train_data, optimizer, criterion)
        best = min(best, evaluate(model, val_data, criterion))
    return [train_loss, best], (model, best)
