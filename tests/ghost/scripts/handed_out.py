"""An array that DLPack made of a weight, and that the script changes."""

import numpy as np
import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
weight = np.from_dlpack(model.weight.detach())
for _ in range(40):
    loss = model(torch.randn(8, 4)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("FINAL", weight.sum())
