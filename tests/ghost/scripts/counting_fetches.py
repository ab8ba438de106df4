"""A dataset, a collator and a sampler that count and note what they do, and a script that goes by it."""

import functools
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler


class Rows(Dataset):
    def __init__(self):
        self.x = torch.randn(200, 5)
        self.seen, self.last, self.calls = [], None, 0
        self.times = np.zeros(200, dtype=np.int64)
        self.heat = torch.zeros(200)

    def __len__(self):
        return 200

    def __getitem__(self, index):
        self.calls += 1
        self.last = index
        self.seen.append(index)
        self.times[index] += 1
        self.heat[index] += 0.5
        return self.x[index] * (1 + 1e-3 * self.calls)


class Collator:
    def __init__(self):
        self.calls, self.lengths, self.names = 0, {}, set()

    def pad(self, rows, scale):
        self.calls += 1
        self.lengths[len(rows)] = self.lengths.get(len(rows), 0) + 1
        self.names.add(f"batch{self.calls % 70}")
        return torch.stack(rows) * scale

    def collate(self, rows):
        return self.pad(rows, 1.0)


class Shuffled(Sampler):
    def __init__(self):
        self.drawn = 0

    def __iter__(self):
        for index in torch.randperm(200).tolist():
            self.drawn += 1
            yield index

    def __len__(self):
        return 200


class Stream(IterableDataset):
    def __init__(self):
        self.given, self.kinds, self.mean = 0, [], torch.zeros(5)

    def __iter__(self):
        for _ in range(120):
            row = torch.randn(5)
            self.given += 1
            self.kinds.append(int(row[0] > 0))
            self.mean.mul_(0.9).add_(row, alpha=0.1)
            yield row + self.mean


torch.manual_seed(0)
rows, stream, collators = Rows(), Stream(), [Collator(), Collator()]
sampler = Shuffled()
model = torch.nn.Linear(5, 1)
opt = torch.optim.SGD(model.parameters(), 1e-2)
history = []
for _ in range(3):
    one = DataLoader(rows, 12, sampler=sampler, collate_fn=collators[0].collate)
    two = DataLoader(stream, 6, collate_fn=functools.partial(collators[1].pad, scale=0.5))
    for a, b in zip(one, two):
        loss = (model(torch.cat([a, b])) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        for group in opt.param_groups:
            group["lr"] = 1e-2 / (1 + 1e-3 * (rows.calls + collators[0].calls + stream.given))
        seen = (rows.calls, rows.last, len(rows.seen), rows.seen[-1], int(rows.times.max()))
        calls = [(c.calls, tuple(c.lengths.items()), len(c.names)) for c in collators]
        history.append((loss.item(), seen, calls, sampler.drawn, stream.given, sum(stream.kinds)))
state = (rows.seen, rows.times, rows.heat, stream.kinds, stream.mean, history)
torch.save((model.state_dict(), state, sorted(collators[1].names)), "final.pt")
sys.stdout.write(f"FINAL {len(history)} {history[-1]}\n")
