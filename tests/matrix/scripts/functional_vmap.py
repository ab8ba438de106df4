"""No modules, no torch.optim: torch.func.grad and vmap over an ensemble, Adam written out."""

import json
import os

import torch
from torch.func import grad_and_value, vmap

torch.manual_seed(47)
ENSEMBLE, STEPS = 8, 700


def init():
    return {
        "w1": torch.randn(ENSEMBLE, 5, 48) * 0.5,
        "b1": torch.zeros(ENSEMBLE, 48),
        "w2": torch.randn(ENSEMBLE, 48, 48) * 0.2,
        "b2": torch.zeros(ENSEMBLE, 48),
        "w3": torch.randn(ENSEMBLE, 48, 1) * 0.2,
    }


def predict(p, x):
    return torch.tanh(torch.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]) @ p["w3"]


def loss_fn(p, x, y):
    return ((predict(p, x) - y) ** 2).mean()


step_fn = vmap(grad_and_value(loss_fn), in_dims=(0, 0, 0))
params = init()
m = {k: torch.zeros_like(v) for k, v in params.items()}
v = {k: torch.zeros_like(w) for k, w in params.items()}
trace = []
for t in range(1, STEPS + 1):
    x = torch.randn(ENSEMBLE, 48, 5)
    y = torch.sin(x[..., :1] * 2) * x[..., 1:2]
    grads, losses = step_fn(params, x, y)
    for k in params:
        m[k] = 0.9 * m[k] + 0.1 * grads[k]
        v[k] = 0.99 * v[k] + 0.01 * grads[k] ** 2
        mhat, vhat = m[k] / (1 - 0.9**t), v[k] / (1 - 0.99**t)
        params[k] = params[k] - 3e-3 * mhat / (vhat.sqrt() + 1e-8)
    if t % 20 == 0:
        trace.append(losses.tolist())
        print(t, min(trace[-1]), flush=True)
os.makedirs("ensemble", exist_ok=True)
torch.save(params, "ensemble/params.pt")
torch.save({"m": m, "v": v}, "ensemble/optimizer.pt")
with open("ensemble/trace.json", "w") as f:
    json.dump(trace, f)
