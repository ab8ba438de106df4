"""A custom sampler that draws hard examples more often; its weights follow the losses."""

import csv
import os

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset, Sampler


class HardSampler(Sampler):
    def __init__(self, n, seed):
        self.weights = np.ones(n)
        self.rng = np.random.default_rng(seed)
        self.n = n

    def update(self, indices, losses):
        self.weights[indices] = 0.7 * self.weights[indices] + 0.3 * (losses + 0.05)

    def __iter__(self):
        p = self.weights / self.weights.sum()
        yield from self.rng.choice(self.n, size=self.n, p=p).tolist()

    def __len__(self):
        return self.n


class Table(Dataset):
    def __init__(self, n, rng):
        self.x = rng.standard_normal((n, 12)).astype("float32")
        self.y = (self.x[:, 0] * self.x[:, 1] + 0.5 * self.x[:, 2] > 0).astype("float32")
        flip = rng.random(n) < 0.05
        self.y[flip] = 1 - self.y[flip]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"index": i, "x": self.x[i], "y": self.y[i]}


def main(epochs=18, batch_size=32, out="mined"):
    torch.manual_seed(31)
    rng = np.random.default_rng(31)
    data = Table(1280, rng)
    sampler = HardSampler(len(data), seed=77)
    loader = DataLoader(data, batch_size=batch_size, sampler=sampler)
    net = nn.Sequential(
        nn.Linear(12, 96),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(96, 96),
        nn.ReLU(),
        nn.Linear(96, 1),
    )
    opt = torch.optim.Adagrad(net.parameters(), lr=0.02)
    os.makedirs(out, exist_ok=True)
    with open(f"{out}/history.csv", "w") as f:
        w = csv.DictWriter(f, ["epoch", "loss", "hardest", "entropy"])
        w.writeheader()
        for epoch in range(epochs):
            total = 0.0
            for batch in loader:
                logit = net(batch["x"]).squeeze(1)
                per = nn.functional.binary_cross_entropy_with_logits(
                    logit, batch["y"], reduction="none"
                )
                opt.zero_grad()
                per.mean().backward()
                opt.step()
                sampler.update(batch["index"].numpy(), per.detach().numpy())
                total += per.mean().item()
            p = sampler.weights / sampler.weights.sum()
            w.writerow(
                {
                    "epoch": epoch,
                    "loss": total / len(loader),
                    "hardest": int(p.argmax()),
                    "entropy": float(-(p * np.log(p)).sum()),
                }
            )
            f.flush()
    torch.save(net.state_dict(), f"{out}/net.pt")
    torch.save(opt.state_dict(), f"{out}/opt.pt")
    np.save(f"{out}/sampler_weights.npy", sampler.weights)


if __name__ == "__main__":
    main()
