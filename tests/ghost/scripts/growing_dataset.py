"""A dataset that makes its samples by chance when they are first read, and keeps them."""

import random
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset


class Cached(Dataset):
    def __init__(self):
        self.made = {}
        self.tensors = {}
        self.read = np.zeros(0, dtype=np.int64)

    def __len__(self):
        return 150

    def __getitem__(self, index):
        if index not in self.made:
            self.made[index] = (np.random.randn(5).astype("float32"), random.random())
            self.tensors[index] = torch.rand(2)
        self.read = np.append(self.read, index)
        x, y = self.made[index]
        return torch.from_numpy(x), self.tensors[index], y


random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
data = Cached()
model = torch.nn.Linear(7, 1)
opt = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
losses = []
for _ in range(10):
    for x, more, y in DataLoader(Subset(data, range(0, 150, 1)), 15, shuffle=True):
        loss = ((model(torch.cat([x, more], 1))[:, 0] - y.float()) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append((loss.item(), len(data.read), random.random()))
torch.save((model.state_dict(), losses, data.read, data.made, data.tensors), "final.pt")
sys.stdout.write(f"FINAL {losses[-1]}\n")
