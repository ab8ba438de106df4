"""The loop writes lines into a file that compresses them as they come."""

import gzip
import io

import torch

torch.manual_seed(0)
x = torch.randn(32, 4)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.05)
lines = io.TextIOWrapper(gzip.GzipFile("lines.gz", "wb", mtime=0))
for step in range(90):
    loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    lines.write(f"{step} {loss.item()}\n" * 20)
lines.close()
print("FINAL", model.weight.tolist())
