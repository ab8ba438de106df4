"""Hooks on optimizers that count, average weights, keep norms and set the learning rate by them."""

import torch
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

STEPS = {"all": 0}
FINITE = []


class TooSteepError(Exception):
    """This step shall not be taken."""


class Average:
    """An average of the weights that is begun late, and the sizes of the steps."""

    def __init__(self, begin):
        self.begin, self.calls, self.kept, self.sizes = begin, 0, {}, []

    def __call__(self, optimizer, *_):
        self.calls += 1
        if self.calls < self.begin:
            return
        for index, p in enumerate(optimizer.param_groups[0]["params"]):
            if index not in self.kept:
                self.kept[index] = p.detach().clone()
            self.kept[index].lerp_(p.detach(), 0.1)
            self.sizes.append((p.detach() - self.kept[index]).norm().item())


def by_norm(limit):
    """Count the steps whose gradients were cut, in a closure that nothing else holds."""
    cut, shift = 0, torch.zeros(1)

    def before(optimizer, *_):
        nonlocal cut
        norm = nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], limit)
        if norm > limit:
            cut += 1
            shift.add_(norm)
            if cut % 8 == 0:
                raise TooSteepError
        optimizer.param_groups[0]["lr"] = 0.02 / (1 + cut / 50) + 1e-4 * float(shift)

    return before


def moments(optimizer, *_):
    state = optimizer.state[optimizer.param_groups[0]["params"][0]]
    seen.append(state["exp_avg"].abs().max().item() * int(state["step"]))


def count(optimizer, args, kwargs):
    STEPS["all"] += 1
    name = type(optimizer).__name__
    STEPS[name] = STEPS.get(name, 0) + len(args) + len(kwargs)


def finite(optimizer, *_):
    grads = [p.grad for p in optimizer.param_groups[0]["params"] if p.grad is not None]
    FINITE.append(len(grads) if all(bool(grad.isfinite().all()) for grad in grads) else 0)


torch.manual_seed(0)
one = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
two, three = nn.Linear(6, 1), nn.Linear(6, 1)
adam = torch.optim.Adam(one.parameters(), 0.02)
sgd = torch.optim.SGD(two.parameters(), 0.05, momentum=0.9)
lbfgs = torch.optim.LBFGS(three.parameters(), lr=0.1, max_iter=3)
scaler = torch.amp.GradScaler("cpu") if hasattr(torch.amp, "GradScaler") else None
seen, left_out = [], 0
adam.register_step_post_hook(Average(5))
adam.register_step_pre_hook(by_norm(0.5))
adam.register_step_post_hook(moments)
average = Average(15)
sgd.register_step_post_hook(average)
handle = sgd.register_step_post_hook(lambda *_: seen.append(len(seen)))
register_optimizer_step_post_hook(count)
register_optimizer_step_pre_hook(finite)
for step in range(40):
    x = torch.randn(20, 6)
    y = x.abs().sum(1, keepdim=True)
    adam.zero_grad()
    (one(x) - y).pow(2).mean().backward()
    try:
        adam.step()
    except TooSteepError:
        left_out += 1
    loss = (two(x) - y).pow(2).mean()
    sgd.zero_grad()
    if scaler is None:
        loss.backward()
        sgd.step()
    else:
        scaler.scale(loss).backward()
        scaler.step(sgd)
        scaler.update()
    if step == 30:
        handle.remove()

    def closure(x=x, y=y):
        lbfgs.zero_grad()
        loss = (three(x) - y).pow(2).mean()
        loss.backward()
        return loss

    lbfgs.step(closure)
kept = (average.kept, average.sizes, STEPS, FINITE, seen)
torch.save((one.state_dict(), two.state_dict(), three.state_dict(), kept), "final.pt")
print(
    "FINAL", STEPS, left_out, len(FINITE), seen[-1], average.sizes[-1], adam.param_groups[0]["lr"]
)
