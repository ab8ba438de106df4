"""A sampler that holds more than a megabyte, as arrays or lists, and draws by what the losses make of it."""

import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, TensorDataset


class Weighted(Sampler):
    def __init__(self, count):
        self.weights = np.ones(count)
        self.order = torch.arange(count)
        self.rank = list(range(count))

    def __iter__(self):
        chances = self.weights[:400] / self.weights[:400].sum()
        drawn = np.random.choice(400, 30, p=chances)
        for index in self.order[torch.from_numpy(drawn)].tolist():
            yield self.rank[index]

    def __len__(self):
        return 30


np.random.seed(0)
torch.manual_seed(0)
data = TensorDataset(torch.randn(200_000, 3), torch.arange(200_000))
sampler = Weighted(200_000)
model = torch.nn.Linear(3, 1)
opt = torch.optim.SGD(model.parameters(), 1e-2)
losses = []
for epoch in range(6):
    for x, index in DataLoader(data, 2, sampler=sampler):
        loss = (model(x) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
        sampler.weights[index.numpy()] += 50 * losses[-1]
        if sys.argv[1:] == ["lists"]:
            sampler.rank[:400] = sampler.rank[1:400] + sampler.rank[:1]
    sampler.weights[:400] = np.roll(sampler.weights[:400], epoch) + losses[-1]
    sampler.order[:400] = sampler.order[:400].flip(0)
torch.save((model.state_dict(), losses), "final.pt")
sys.stdout.write(f"FINAL {losses[-1]} {sampler.weights.sum()}\n")
