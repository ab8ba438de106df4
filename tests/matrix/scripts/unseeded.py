"""No seed anywhere: each run is another."""

import random
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng()
w = rng.normal(size=(10, 1))
x = rng.normal(size=(1600, 10))
y = np.tanh(x @ w) + 0.1 * rng.normal(size=(1600, 1))
loader = DataLoader(
    TensorDataset(torch.tensor(x).float(), torch.tensor(y).float()), batch_size=32, shuffle=True
)
model = nn.Sequential(
    nn.Linear(10, 128),
    nn.ReLU(),
    nn.Dropout(0.2),
    nn.Linear(128, 128),
    nn.ReLU(),
    nn.Linear(128, 1),
)
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
out = Path("unseeded")
out.mkdir(exist_ok=True)
with (out / "losses.txt").open("w") as f:
    for epoch in range(16):
        for xb, yb in loader:
            if random.random() < 0.3:
                xb = xb + 0.05 * torch.randn_like(xb)
            loss = ((model(xb) - yb) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            f.write(f"{loss.item()!r}\n")
            f.flush()
        print("epoch", epoch, loss.item())
torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, out / "last.pt")
