"""Generators of NumPy and Python from which the forward pass draws, and the loop too."""

import random

import numpy as np
import torch
from torch import nn

noise = np.random.default_rng(1)
picks = random.Random(2)
old = np.random.RandomState(3)


class Augment:
    """Draws for both."""

    def __init__(self):
        self.stream = np.random.default_rng(4)

    def shift(self):
        return float(self.stream.normal())


class Net(nn.Module):
    kinds = np.random.default_rng(5)

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 16), nn.Linear(16, 1)
        self.stream, self.augment = np.random.default_rng(6), augment

    def forward(self, x):
        x = x + 0.1 * float(noise.normal()) + 0.1 * self.augment.shift()
        keep = torch.from_numpy(self.stream.random(16) > 0.1).float()
        if picks.random() < 0.2:
            keep = keep * float(old.rand())
        return self.two(torch.tanh(self.one(x)) * keep) * float(self.kinds.uniform(0.9, 1.1))


torch.manual_seed(0)
augment = Augment()
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
data, seen = torch.randn(200, 6), []
for _ in range(100):
    x = data[noise.choice(200, 16)] * (1 + 0.1 * augment.shift())
    loss = (net(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.param_groups[0]["lr"] = 0.05 * picks.uniform(0.9, 1.0) * float(net.stream.random())
    optimizer.step()
    seen.append((int(noise.integers(100)), float(old.rand()), float(Net.kinds.random())))
torch.save((net.state_dict(), seen), "final.pt")
print("FINAL", loss.item(), seen[-1])
