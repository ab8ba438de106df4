"""Tensors that a forward pass leaves in modules, or that hooks of the script take out of it."""

import collections
import json

import torch
from torch import nn


class Keeps(nn.Module):
    """Leaves an attention map, an auxiliary loss, a list, late buffers, and a new parameter each time."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, 4)
        self.attention = None
        self.layers = []
        self.register_buffer("late", None)
        self.code = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, x):
        hidden = self.inner(x).relu()
        self.attention = hidden.softmax(-1)
        self.auxiliary = hidden.pow(2).mean()
        self.layers = [hidden, hidden * 2]
        if not hasattr(self, "scale"):
            self.register_buffer("scale", hidden.detach().abs().mean(0) + 1, persistent=False)
            self.late = self.scale + 1
        y = self.outer(hidden / self.scale - self.late)
        self.code = nn.Parameter(self.code * 0.9 + 0.1 * y.detach().mean(0), requires_grad=False)
        return y - self.code


class Equalized:
    """Computes a weight before each call, as progressive GANs do."""

    def __init__(self, module):
        weight = module.weight
        del module._parameters["weight"]
        module.register_parameter("weight_orig", nn.Parameter(weight.data))
        module.register_forward_pre_hook(self)

    def __call__(self, module, _inputs):
        module.weight = module.weight_orig * 0.7


torch.manual_seed(0)
keeps = Keeps()
lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(4))
lazy(torch.zeros(2, 4))
normed = nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 4))
grown = nn.Sequential(nn.Linear(4, 4))
features, means = {}, collections.defaultdict(list)


def keep(_module, _inputs, output):
    features["hidden"] = output
    features["last"] = output.detach()


def count(_module, _inputs, output):
    means["out"].append(output.mean().item())


keeps.inner.register_forward_hook(keep)
handle = lazy[2].register_forward_hook(count)
models = [keeps, lazy, normed, grown]
optimizers = [torch.optim.Adam(m.parameters(), 1e-2) for m in models]
losses = []
for step in range(75):
    if step == 20:
        # What is new gets its weight attribute in a call.
        grown[0], old = nn.Linear(4, 4), grown[0]
        grown.append(old)
        Equalized(grown[0])
        optimizers[3] = torch.optim.Adam(grown.parameters(), 1e-2)
    if step == 60:
        handle.remove()
    for model, optimizer in zip(models, optimizers):
        x = torch.randn(8, 4)
        loss = (model(x) - x.flip(1)).pow(2).mean()
        if model is keeps:
            loss = loss + 0.1 * keeps.attention.pow(2).mean() + 0.1 * keeps.auxiliary
            loss = loss + 0.1 * sum(h.mean() for h in keeps.layers) + features["hidden"].mean()
            losses.append(features["last"].mean().item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
with open("losses.json", "w") as file:
    json.dump([losses, means], file)
kept = [keeps.attention, keeps.scale, features["last"]]
torch.save([[m.state_dict() for m in models], [o.state_dict() for o in optimizers], kept], "out.pt")
print("FINAL", losses[-1], len(means["out"]))
