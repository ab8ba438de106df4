"""Data drawn between the batches from streams that the loop draws from, too; the argument says by whom."""

import random
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, Sampler, TensorDataset

KIND = sys.argv[1]


class Mean:
    """Takes away what it has seen so far, on average."""

    def __init__(self):
        self.mean, self.last, self.count = torch.zeros(4), [0.0], 0

    def __call__(self, row):
        self.count += 1
        self.mean.mul_(0.95).add_(row, alpha=0.05)
        self.last[0] = float(row[0]) + 0.5 * self.last[0]
        return row - self.mean + self.last[0] / (1 + self.count)


class Shuffled(IterableDataset):
    """Gives one of a buffer at a time, in which rows lie as they were when they came."""

    def __init__(self):
        self.mean = Mean()

    def __iter__(self):
        held = []
        for number in range(100_000):
            row = self.mean(torch.full((4,), number % 37 / 37))
            if len(held) < 16:
                held.append(row)
                continue
            at = (random.randrange(16) + int(torch.randint(16, ()))) % 16
            yield held[at]
            held[at] = row


class Endless(Sampler):
    """Draws an order at each pass, and at each batch from where in it."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        while True:
            order = torch.randperm(self.count).tolist()
            for _ in range(7):
                yield [order[at] for at in np.random.choice(self.count, 4, replace=False)]


class Noisy(TensorDataset):
    def __getitem__(self, index):
        return super().__getitem__(index)[0] + 0.1 * float(np.random.rand())


def make_loader():
    if KIND == "stream":
        return DataLoader(Shuffled(), batch_size=4)
    data = Noisy(torch.randn(60, 4))
    workers = 2 if KIND == "workers" else 0
    return DataLoader(data, batch_sampler=Endless(60), num_workers=workers)


random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1)
)
optimizer = torch.optim.SGD(model.parameters(), 0.05)
for step, x in enumerate(make_loader()):
    if random.random() < 0.5:
        x = x + float(np.random.rand())
    loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 120:
        break
weights = model[0].weight.tolist()
print("FINAL", weights, loss.item(), random.random(), np.random.rand(), torch.rand(()).item())
