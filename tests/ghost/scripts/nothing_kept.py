"""Sweeps no garbage, and says whether anything of a snapshot outlives it, and memory with it."""

import gc
import sys

import torch

gc.disable()
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
hidden = set()
for step in range(60):
    x = torch.randn(8, 4)
    loss = model(x).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 30:
        hidden.add(x * 2)
kept = [type(o).__name__ for o in gc.get_objects() if type(o).__name__ in ("Walk", "Look")]
print("KEPT", kept, "vaultlayer_hooks" in sys.modules)
