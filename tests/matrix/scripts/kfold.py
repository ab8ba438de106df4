"""Cross-validation: a fresh model and optimizer for every fold, the best of each kept in memory."""

import copy
import json
import os

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

np.random.seed(36)
torch.manual_seed(36)
x = torch.randn(1000, 14)
y = ((x[:, :4].sum(1) + x[:, 4] * x[:, 5]) > 0).long()
data = TensorDataset(x, y)
folds = np.array_split(np.random.permutation(len(data)), 5)
os.makedirs("cv", exist_ok=True)
scores, states, opts = [], [], []


def reset(m):
    if hasattr(m, "reset_parameters"):
        m.reset_parameters()


net = nn.Sequential(
    nn.Linear(14, 96), nn.ReLU(), nn.Dropout(0.2), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 2)
)
for fold, held in enumerate(folds):
    rest = np.concatenate([f for i, f in enumerate(folds) if i != fold])
    train = DataLoader(data, batch_size=32, sampler=SubsetRandomSampler(rest))
    test = DataLoader(data, batch_size=100, sampler=SubsetRandomSampler(held))
    net.apply(reset)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    best, best_state, wait = 0.0, None, 0
    for epoch in range(14):
        net.train()
        for xb, yb in train:
            opt.zero_grad()
            nn.functional.cross_entropy(net(xb), yb).backward()
            opt.step()
        net.eval()
        with torch.no_grad():
            acc = sum((net(xb).argmax(1) == yb).sum().item() for xb, yb in test) / len(held)
        if acc > best:
            best, best_state, wait = acc, copy.deepcopy(net.state_dict()), 0
        else:
            wait += 1
        if wait > 6:
            break
    scores.append({"fold": fold, "best": best, "epochs": epoch + 1})
    print(scores[-1], flush=True)
    states.append(best_state)
    opts.append(opt.state_dict())
    with open("cv/scores.json", "w") as f:
        json.dump(scores, f)
print("mean", np.mean([s["best"] for s in scores]))
torch.save(states, "cv/models.pt")
torch.save(opts, "cv/optimizers.pt")
