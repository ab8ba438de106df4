"""Every fifth backward pass goes through a graph that is older than the steps before it."""

import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 4)
scale = torch.ones(4, requires_grad=True)
optimizer = torch.optim.SGD([scale], 1e-3)
kept = model(torch.ones(1, 4))
for step in range(120):
    base = kept if step % 5 == 4 else model(torch.ones(1, 4))
    loss = (base + scale).pow(2).mean()
    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    optimizer.step()
print("FINAL", scale.sum().item())
