"""Prepares a cache on disk on its first start and reads it ever after; a probe of it trains an adapter."""

import hashlib
import os
import pickle
import time

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

CACHE = "cache/features.npy"
np.random.seed(5)
torch.manual_seed(5)


def prepare():
    os.makedirs("cache", exist_ok=True)
    print("building cache")
    enc = nn.Sequential(nn.Linear(30, 64), nn.Tanh())
    raw = np.random.randn(1500, 30).astype(np.float32)
    with torch.no_grad():
        feats = enc(torch.from_numpy(raw)).numpy()
    np.save(CACHE, feats)
    with open("cache/labels.pkl", "wb") as f:
        pickle.dump((raw[:, :3].sum(1) > 0).astype(np.int64), f)
    with open("cache/DONE", "w") as f:
        f.write(hashlib.md5(feats.tobytes()).hexdigest())


class Features(Dataset):
    def __init__(self):
        self.x = np.load(CACHE, mmap_mode="r")
        with open("cache/labels.pkl", "rb") as f:
            self.y = pickle.load(f)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return torch.tensor(self.x[i]), int(self.y[i])


def main():
    if not os.path.exists("cache/DONE"):
        prepare()
    t0 = time.time()
    loader = DataLoader(Features(), batch_size=30, shuffle=True, num_workers=0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ELU(), nn.Dropout(0.1), nn.Linear(128, 2))
    opt = torch.optim.Rprop(model.parameters(), lr=1e-4, step_sizes=(1e-7, 0.005))
    os.makedirs("adapter", exist_ok=True)
    for epoch in range(16):
        loss_sum = torch.tensor(0.0)
        for x, y in loader:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            loss_sum += loss.detach()
        with open("adapter/log.txt", "a") as f:
            f.write(f"epoch={epoch} loss={loss_sum / len(loader):.6f}\n")
        print(f"epoch {epoch} {time.time() - t0:.1f}s {loss_sum / len(loader):.4f}")
        torch.save(model.state_dict(), f"adapter/epoch_{epoch}.pt")
        if epoch >= 3:
            os.remove(f"adapter/epoch_{epoch - 3}.pt")
    torch.save(opt.state_dict(), "adapter/opt.pt")


if __name__ == "__main__":
    main()
