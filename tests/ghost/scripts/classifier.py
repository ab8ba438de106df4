"""Epochs over a shuffled loader: batch norm, dropout, a schedule, the best weights and a table on disk."""

import os

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
inputs = torch.randn(200, 12)
labels = (inputs[:, :3].sum(1) > 0).long()
model = torch.nn.Sequential(
    torch.nn.Linear(12, 24),
    torch.nn.BatchNorm1d(24),
    torch.nn.ReLU(),
    torch.nn.Dropout(0.2),
    torch.nn.Linear(24, 2),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
loader = DataLoader(TensorDataset(inputs, labels), batch_size=16, shuffle=True)
best = 1e9
with open("table.csv", "w") as table:
    for epoch in range(9):
        total = 0.0
        for x, y in loader:
            loss = F.cross_entropy(model(x), y) + float(os.environ.get("NOISE", "0"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        schedule.step()
        table.write(f"{epoch},{total!r},{schedule.get_last_lr()[0]}\n")
        if total < best:
            best = total
            torch.save(model.state_dict(), "best.pt")
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "final.pt")
print("FINAL", best)
