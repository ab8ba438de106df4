"""An ensemble by `torch.func` and momentum by hand: no module, no optimizer, no backward pass."""

import torch
from torch.func import grad, grad_and_value, vmap

torch.manual_seed(0)
curved = grad(grad(lambda s: (s**4).sum()))
scale = float(curved(torch.ones(())))
weights = {"in": torch.randn(3, 8, 16) * 0.3, "out": torch.randn(3, 16, 1) * 0.3}
speeds = {name: torch.zeros_like(w) for name, w in weights.items()}
history = []


def loss_of(w, x, y):
    hidden = torch.dropout(torch.tanh(x @ w["in"]), 0.1, True)
    error = (hidden @ w["out"] - y).pow(2).mean()
    return error * scale / 12, {"hidden": hidden.mean()}


for step in range(120):
    x = torch.randn(3, 32, 8)
    y = x.sum(-1, keepdim=True)
    ensemble = vmap(grad_and_value(loss_of, has_aux=True), randomness="different")
    grads, (losses, aux) = ensemble(weights, x, y)
    for name, speed in speeds.items():
        speed.mul_(0.9).add_(grads[name])
        weights[name] = weights[name] - 0.01 * speed
    if step % 3 == 0:
        history.append((losses.tolist(), aux["hidden"].tolist()))
torch.save([weights, speeds], "final.pt")
print("FINAL", history[-1])
