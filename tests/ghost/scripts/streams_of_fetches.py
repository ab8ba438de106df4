"""Random streams of a dataset, in a dictionary, in nested lists, and in an object of a dictionary."""

import random

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class Flip:
    def __init__(self, seed):
        self.stream = random.Random(seed)

    def __call__(self, x):
        return -x if self.stream.random() < 0.5 else x


class Noisy(Dataset):
    def __init__(self):
        self.x = torch.linspace(-1, 1, 160).reshape(40, 4)
        self.streams = {"noise": np.random.default_rng(1)}
        self.nested = [[(random.Random(2),)]]
        self.steps = {"flip": Flip(3)}

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        x = self.steps["flip"](self.x[index])
        x = x + float(self.streams["noise"].normal()) * 0.1
        return x * self.nested[0][0][0].random()


torch.manual_seed(0)
data = Noisy()
loader = DataLoader(data, batch_size=4, shuffle=True)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
for _ in range(11):
    # The loop draws from the same streams, between the fetches.
    rate = data.streams["noise"].random() + data.nested[0][0][0].random()
    optimizer.param_groups[0]["lr"] = 0.01 * (rate + data.steps["flip"].stream.random())
    for x in loader:
        loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print("FINAL", model.weight.tolist(), loss.item(), data.nested[0][0][0].random())
