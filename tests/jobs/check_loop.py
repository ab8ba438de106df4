"""A plain PyTorch loop for `vaultlayer check`; `--pid` mixes in what no other process can compute again.

`--early-save` writes weights that nothing loads, long before the first snapshot.
"""

import argparse
import os

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100_000)
parser.add_argument("--pid", action="store_true")
parser.add_argument("--early-save", action="store_true")
args = parser.parse_args()

torch.manual_seed(5)
model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
strange = float(os.getpid()) * 1e-6 if args.pid else 0.0
for step in range(1, args.steps + 1):
    inputs, labels = torch.randn(256, 256), torch.randint(0, 10, (256,))
    loss = nn.functional.cross_entropy(model(inputs), labels) * (1.0 + strange)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if args.early_save and step == 2:
        torch.save(model.state_dict(), "early.pt")
    if step % 10 == 0:
        print(f"step {step} loss {loss.item():.6f}", flush=True)
