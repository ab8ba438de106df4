"""Points are added and pruned: the optimizer's parameters and their state are replaced, as in splatting."""

import sys

import torch

torch.manual_seed(0)
target = torch.randn(40, 2)
points = torch.nn.Parameter(torch.randn(30, 2))
opt = torch.optim.Adam([{"params": [points], "lr": 0.05, "name": "points"}])


def replace(points, wanted):
    group = opt.param_groups[0]
    state = opt.state.pop(points)
    for name in ("exp_avg", "exp_avg_sq"):
        state[name] = wanted(state[name])
    made = torch.nn.Parameter(wanted(points.detach()))
    opt.state[made] = state
    group["params"][0] = made
    return made


counts = []
for step in range(100):
    near = torch.cdist(target, points).min(1)
    loss = near.values.mean() + 0.01 * points.norm(dim=1).mean()
    loss.backward()
    opt.step()
    opt.zero_grad()
    if step % 12 == 5:
        used = torch.zeros(len(points), dtype=torch.bool)
        used[near.indices] = True
        points = replace(points, lambda x, keep=used: x[keep])
        points = replace(points, lambda x: torch.cat([x, x[:4] + 0.01]))
    # Many short fits beside it.
    shift = torch.nn.Parameter(torch.zeros(2))
    fit = torch.optim.SGD([shift], 0.1)
    for _ in range(2):
        fit.zero_grad()
        ((points.detach() + shift).mean(0) ** 2).sum().backward()
        fit.step()
    counts.append((len(points), loss.item(), shift.sum().item()))
torch.save((points.data, opt.state_dict(), counts), "final.pt")
sys.stdout.write(f"FINAL {counts[-1]}\n")
