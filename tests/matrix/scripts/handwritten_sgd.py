"""A network out of raw tensors, Nesterov momentum by hand; neither nn.Module nor torch.optim."""

import math
import os

import torch

torch.manual_seed(123)
lr, mu, wd, steps = 0.03, 0.9, 1e-4, 1100


def glorot(i, o):
    w = torch.empty(i, o).uniform_(-math.sqrt(6 / (i + o)), math.sqrt(6 / (i + o)))
    return w.requires_grad_()


params = {
    "w1": glorot(16, 160),
    "b1": torch.zeros(160, requires_grad=True),
    "w2": glorot(160, 160),
    "b2": torch.zeros(160, requires_grad=True),
    "w3": glorot(160, 3),
    "b3": torch.zeros(3, requires_grad=True),
}
velocity = {k: torch.zeros_like(v) for k, v in params.items()}
centers = torch.randn(9, 16) * 1.5


def net(x, drop):
    h = torch.relu(x @ params["w1"] + params["b1"])
    if drop:
        h = h * (torch.rand_like(h) > 0.1) / 0.9
    h = torch.relu(h @ params["w2"] + params["b2"])
    return h @ params["w3"] + params["b3"]


os.makedirs("raw", exist_ok=True)
f = open("raw/loss.csv", "w")
ema_loss = None
for step in range(steps):
    k = torch.randint(0, 9, (64,))
    x = centers[k] + torch.randn(64, 16)
    y = k % 3
    logits = net(x, drop=True)
    loss = -torch.log_softmax(logits, 1)[torch.arange(64), y].mean()
    grads = torch.autograd.grad(loss, list(params.values()))
    with torch.no_grad():
        for (name, p), g in zip(params.items(), grads):
            g = g + wd * p
            velocity[name].mul_(mu).add_(g)
            p -= lr * (g + mu * velocity[name])
    ema_loss = loss.item() if ema_loss is None else 0.98 * ema_loss + 0.02 * loss.item()
    if step == 700:
        lr *= 0.2
    if step % 10 == 0:
        f.write(f"{step},{loss.item()!r},{ema_loss!r}\n")
        f.flush()
f.close()
torch.save({"params": params, "opt_velocity": velocity}, "raw/params.pt")
