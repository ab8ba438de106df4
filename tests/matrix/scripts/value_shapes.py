"""Shapes that depend on values: masks, nonzero, unique, top-k keeping, boolean indexing."""

import json
import os

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(55)
STEPS = 900


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(10, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU())
        self.score = nn.Linear(96, 1)
        self.cls = nn.Linear(96, 5)

    def forward(self, x):
        h = self.backbone(x)
        return self.score(h).squeeze(-1), h


model = Detector()
opt = torch.optim.Adam(model.parameters(), lr=1e-3)
proto = torch.randn(5, 10)
kept_counts, history = [], []
threshold = 0.0

for step in range(STEPS):
    n = int(torch.randint(60, 120, (1,)))
    label = torch.randint(0, 5, (n,))
    is_obj = torch.rand(n) < 0.5
    x = torch.where(is_obj[:, None], proto[label], torch.zeros(())) + 0.7 * torch.randn(n, 10)
    score, h = model(x)
    keep = (score > threshold).nonzero().squeeze(1)
    if len(keep) < 8:
        keep = score.topk(8).indices
    cls_in = h[keep]
    hard = is_obj[keep]
    loss = F.binary_cross_entropy_with_logits(score, is_obj.float())
    if hard.any():
        logits = model.cls(cls_in[hard])
        loss = loss + F.cross_entropy(logits, label[keep][hard])
        classes, counts = torch.unique(label[keep][hard], return_counts=True)
        loss = loss + 1e-3 * (counts.float().var(unbiased=False))
        if len(classes) < 5:
            loss = loss * 1.1
    opt.zero_grad()
    loss.backward()
    opt.step()
    kept_counts.append(len(keep))
    if len(kept_counts) >= 20 and sum(kept_counts[-20:]) / 20 > n * 0.6:
        threshold += 0.01
    elif sum(kept_counts[-20:]) / 20 < n * 0.3:
        threshold -= 0.01
    history.append((round(loss.item(), 6), len(keep), int(hard.sum()), threshold))
    if step % 100 == 0:
        sel = torch.masked_select(score.detach(), is_obj)
        print(step, history[-1], sel.shape[0], f"{sel.mean():.4f}")

os.makedirs("detector", exist_ok=True)
json.dump(history, open("detector/history.json", "w"))
torch.save(
    {"model": model.state_dict(), "optimizer": opt.state_dict(), "threshold": threshold},
    "detector/last.pt",
)
