"""LBFGS with strong Wolfe line search on mini-batches of a noisy surface."""

import json
import os

import torch

torch.manual_seed(99)
torch.set_default_dtype(torch.float64)

x = torch.rand(512, 2) * 4 - 2
y = torch.sin(3 * x[:, :1]) * torch.cos(2 * x[:, 1:]) + 0.05 * torch.randn(512, 1)
model = torch.nn.Sequential(
    torch.nn.Linear(2, 48),
    torch.nn.Tanh(),
    torch.nn.Linear(48, 48),
    torch.nn.Tanh(),
    torch.nn.Linear(48, 1),
)
optimizer = torch.optim.LBFGS(
    model.parameters(), lr=0.5, max_iter=6, history_size=12, line_search_fn="strong_wolfe"
)
evals = 0
curve = []

for it in range(220):
    idx = torch.randperm(len(x))[:384]
    bx, by = x[idx], y[idx]

    def closure():
        global evals
        evals += 1
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(bx), by)
        reg = sum((p**2).sum() for p in model.parameters())
        loss = loss + 1e-5 * reg
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    curve.append({"iter": it, "loss": loss.item(), "evals": evals})
    if it % 10 == 0:
        print(it, loss.item(), evals)
    if loss.item() < 1e-4:
        print("converged")
        break

os.makedirs("fit", exist_ok=True)
with open("fit/curve.jsonl", "w") as f:
    for row in curve:
        f.write(json.dumps(row) + "\n")
torch.save(model.state_dict(), "fit/model.pt")
torch.save(optimizer.state_dict(), "fit/lbfgs.pt")
