"""Adversarial training: the inputs are leaves, and their gradients are read."""

import torch
import torch.nn.functional as F

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(100):
    x = torch.randn(16, 8).requires_grad_()
    y = (x.detach().sum(1) > 0).long()
    F.cross_entropy(model(x), y).backward()
    worse = (x + 0.1 * x.grad.sign()).detach()
    loss = F.cross_entropy(model(worse), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
torch.save(model.state_dict(), "final.pt")
print("FINAL", loss.item())
