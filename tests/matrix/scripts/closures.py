"""Everything is a closure: make_trainer returns functions that share nonlocal state."""

import json
import os
from functools import partial

import torch
import torch.nn as nn


def make_trainer(width, lr, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(6, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
    )
    opt = torch.optim.Adam(model.parameters(), lr=lr)
    step_count = 0
    running = None
    shadow = [p.detach().clone() for p in model.parameters()]
    gen = torch.Generator().manual_seed(seed + 1)

    def sample(n):
        t = torch.rand(n, 6, generator=gen) * 2 - 1
        return t, torch.stack([t.prod(1) * 20, (t * t).sum(1)], 1)

    def ema(decay):
        for s, p in zip(shadow, model.parameters()):
            s.mul_(decay).add_(p.detach(), alpha=1 - decay)

    def step(n, loss_fn):
        nonlocal step_count, running
        x, y = sample(n)
        loss = loss_fn(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        step_count += 1
        ema(min(0.99, step_count / (step_count + 10)))
        value = loss.item()
        running = value if running is None else 0.95 * running + 0.05 * value
        return value

    def report():
        return {
            "step": step_count,
            "running": running,
            "shadow_norm": sum(float(s.norm()) for s in shadow),
        }

    def save(folder):
        os.makedirs(folder, exist_ok=True)
        torch.save({"model": model.state_dict(), "shadow": shadow}, f"{folder}/model.pt")
        torch.save(opt.state_dict(), f"{folder}/optimizer.pt")

    return step, report, save


def run(steps=1000):
    step, report, save = make_trainer(96, 2e-3, 3)
    huber = partial(nn.functional.huber_loss, delta=0.7)
    lines = []
    callbacks = {50: lambda: lines.append(report()), 333: lambda: print(report(), flush=True)}
    for i in range(1, steps + 1):
        step(64, huber)
        for every, callback in callbacks.items():
            if i % every == 0:
                callback()
    save("closure_out")
    with open("closure_out/lines.json", "w") as f:
        json.dump(lines, f)


run()
