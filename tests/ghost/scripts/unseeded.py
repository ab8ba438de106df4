"""No seed anywhere: a restart must begin with the dead run's random numbers."""

import random

import numpy as np
import torch

model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
weights = torch.tensor(np.random.randn(8)).float()
history = []
for _ in range(90):
    x = torch.randn(32, 8) * random.random() + float(np.random.rand())
    loss = (model(x) - (x @ weights)[:, None]).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())
print("FINAL", history[-1])
