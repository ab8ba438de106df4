"""A model gives out the array that it counts in, and the loop counts in it, too: the count matters late."""

import numpy as np
import torch


class Counting(torch.nn.Linear):
    """Keeps counts that it gives out."""

    def __init__(self):
        super().__init__(4, 1)
        self.counts = np.zeros(2)

    def forward(self, x):
        self.counts[1] += 1
        return super().forward(x) * (1.5 if self.counts[0] > 79 else 1.0), self.counts


def train(model, x):
    """Give the last counts."""
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(90):
        out, counts = model(x)
        loss = (out - x.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        counts[0] += 1
    return counts


torch.manual_seed(0)
model = Counting()
counts = train(model, torch.randn(32, 4))
print("FINAL", model.weight.tolist(), counts.tolist(), model.counts.tolist())
