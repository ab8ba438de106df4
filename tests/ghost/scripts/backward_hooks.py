"""Hooks of the backward pass that collect norms and means; the learning rate follows what they saw."""

import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 1))
norms = []
means = {}


def after(module, grad_input, grad_output):
    norms.append(grad_output[0].norm().item())
    module.bias.clamp_(-0.1, 0.1)
    size = (module.weight * 2).norm()
    means["size"] = 0.9 * means.get("size", size) + 0.1 * size
    return (grad_input[0] * 0.5,)


def before(module, grad_output):
    means["frozen"] = not module.weight.requires_grad
    means["mean"] = grad_output[0].mean() + 0.5 * means.get("mean", 0.0)


handle = net[3].register_full_backward_hook(after)
net[0].register_full_backward_pre_hook(before)
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
seen = []
for step in range(120):
    x = torch.randn(32, 8, requires_grad=True)
    loss = (net(x) - x.detach().sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.param_groups[0]["lr"] = 0.05 / (1 + sum(norms[-5:]))
    optimizer.step()
    if step % 20 == 19:
        seen.append((norms[-1], float(means["mean"]), float(means["size"])))
    if step == 95:
        handle.remove()
torch.save([net.state_dict(), norms, means], "final.pt")
print("FINAL", seen[-1], len(norms))
