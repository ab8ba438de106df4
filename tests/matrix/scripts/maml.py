"""Model-agnostic meta-learning: inner steps by functional_call, gradients of gradients."""

import json
import math
import os

import torch
import torch.nn as nn
from torch.func import functional_call

torch.manual_seed(29)
net = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
meta = torch.optim.Adam(net.parameters(), lr=2e-3)
inner_lr = nn.Parameter(torch.tensor(0.02))
meta.add_param_group({"params": [inner_lr], "lr": 1e-3})


def task():
    amp, phase = 0.5 + 2 * torch.rand(()), math.pi * torch.rand(())

    def draw(n):
        x = torch.rand(n, 1) * 10 - 5
        return x, amp * torch.sin(x + phase)

    return draw


def adapt(params, x, y, steps):
    for _ in range(steps):
        loss = nn.functional.mse_loss(functional_call(net, params, (x,)), y)
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        params = {k: p - inner_lr * g for (k, p), g in zip(params.items(), grads)}
    return params


log = []
for it in range(420):
    meta.zero_grad()
    total = 0.0
    for _ in range(3):
        draw = task()
        fast = adapt(dict(net.named_parameters()), *draw(10), steps=2)
        x, y = draw(10)
        loss = nn.functional.mse_loss(functional_call(net, fast, (x,)), y) / 3
        loss.backward()
        total += loss.item()
    meta.step()
    log.append(total)
    if it % 50 == 0:
        print(it, total, inner_lr.item())
os.makedirs("maml", exist_ok=True)
torch.save(
    {"net": net.state_dict(), "inner_lr": inner_lr, "opt": meta.state_dict()}, "maml/final.pt"
)
json.dump(log, open("maml/loss.json", "w"))
