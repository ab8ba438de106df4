"""Patches what a profiler or a debugger patches: the very calls that a recorder would wrap too."""

import collections
import time

import torch
from torch.utils.data import DataLoader, TensorDataset

calls = collections.Counter()


def counted(owner, name):
    original = getattr(owner, name)

    def counting(*args, **kwargs):
        calls[name] += 1
        return original(*args, **kwargs)

    setattr(owner, name, counting)


class Own(torch.optim.Adam):
    def step(self, closure=None):
        calls["own step"] += 1
        return super().step(closure)


for owner, name in (
    (torch.Tensor, "item"),
    (torch.Tensor, "backward"),
    (torch.nn.Module, "__call__"),
    (torch.optim.Optimizer, "zero_grad"),
    (torch.autograd, "backward"),
    (torch.nn.utils, "clip_grad_norm_"),
    (DataLoader, "__iter__"),
    (torch, "manual_seed"),
    (time, "time"),
):
    counted(owner, name)

torch.manual_seed(6)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
model.register_forward_hook(lambda *_: calls.update(["forward hook"]))
optimizer = Own(model.parameters(), lr=1e-2)
optimizer.register_step_post_hook(lambda *_: calls.update(["step hook"]))
seen = []
for _ in range(6):
    for (x,) in DataLoader(TensorDataset(torch.randn(48, 4)), batch_size=6, shuffle=True):
        began = time.time()
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append(loss.item())
        assert time.time() >= began
torch.save({"model": model.state_dict(), "seen": seen, "calls": dict(calls)}, "patches.pt")
print("FINAL", seen[-1], sorted(calls.items()))
