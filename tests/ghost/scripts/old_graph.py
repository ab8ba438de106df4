"""Each backward pass goes through the graph of the step before."""

import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 4)
scale = torch.ones(4, requires_grad=True)
optimizer = torch.optim.SGD([scale], 1e-3)
kept = model(torch.ones(1, 4))
for _ in range(60):
    loss = (kept + scale).pow(2).mean()
    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    optimizer.step()
print("FINAL", scale.sum().item())
