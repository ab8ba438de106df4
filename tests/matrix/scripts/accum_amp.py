"""Gradient accumulation, bf16 autocast with a GradScaler, clipping, cosine per step, loader workers."""

import json
import math
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

seed = 1234
accum = 4
epochs = 6
random.seed(seed)
np.random.seed(seed)
torch.manual_seed(seed)


class Waves(Dataset):
    def __init__(self, n=1600):
        self.f = np.random.rand(n, 3) * 5
        self.y = (self.f.sum(1) > 7.5).astype(np.int64)

    def __len__(self):
        return len(self.f)

    def __getitem__(self, i):
        t = np.linspace(0, 1, 64)
        x = sum(np.sin(2 * np.pi * f * t + random.random()) for f in self.f[i])
        x = x + np.random.randn(64) * 0.3
        return torch.tensor(x, dtype=torch.float32) + 0.1 * torch.randn(64), self.y[i]


loader = DataLoader(Waves(), batch_size=16, shuffle=True, num_workers=2, persistent_workers=True)
net = nn.Sequential(
    nn.Linear(64, 256),
    nn.GELU(),
    nn.Dropout(0.2),
    nn.Linear(256, 128),
    nn.GELU(),
    nn.Linear(128, 2),
)
optim = torch.optim.AdamW(net.parameters(), lr=2e-3)
total = epochs * len(loader) // accum
sched = torch.optim.lr_scheduler.LambdaLR(
    optim, lambda s: 0.5 * (1 + math.cos(math.pi * s / total))
)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=50)
crit = nn.CrossEntropyLoss()
rows = []
it = 0
for epoch in range(epochs):
    for x, y in tqdm(loader, desc=f"epoch {epoch}", mininterval=3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = crit(net(x), y) / accum
        scaler.scale(loss).backward()
        it += 1
        if it % accum == 0:
            scaler.unscale_(optim)
            norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optim)
            scaler.update()
            optim.zero_grad(set_to_none=True)
            sched.step()
            rows.append(
                dict(
                    it=it,
                    loss=loss.item() * accum,
                    norm=norm.item(),
                    scale=scaler.get_scale(),
                    lr=sched.get_last_lr()[0],
                )
            )
with open("metrics.json", "w") as f:
    json.dump(rows, f)
torch.save(
    {
        "net": net.state_dict(),
        "optim": optim.state_dict(),
        "scaler": scaler.state_dict(),
        "sched": sched.state_dict(),
    },
    "amp.pt",
)
