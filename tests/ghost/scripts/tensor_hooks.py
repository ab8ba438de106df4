"""Hooks on parameters and outputs that collect norms, beside such that clamp and mask."""

import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
mask = (torch.rand(32, 8) > 0.2).float()
norms, kept, largest = {}, [], 0.0


class Norms:
    def __init__(self, name):
        self.name, self.calls = name, 0

    def __call__(self, grad):
        self.calls += 1
        norms.setdefault(self.name, []).append(grad.norm().item())


def after(p):
    global largest
    largest = max(largest, p.grad.abs().max().item())


for name, p in net.named_parameters():
    p.register_hook(Norms(name))
    p.register_hook(lambda grad: grad.clamp(-0.1, 0.1))
net[0].weight.register_hook(lambda grad: grad * mask)
handle = net[2].weight.register_post_accumulate_grad_hook(after)
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
seen = []
for step in range(120):
    x = torch.randn(32, 8)
    out = net(x)
    out.register_hook(lambda grad: kept.append(grad.mean()))
    loss = (out - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.05 / (1 + largest + norms["0.bias"][-1])
    if step % 20 == 19:
        seen.append((norms["2.bias"][-1], float(kept[-1]), largest))
    if step == 95:
        handle.remove()
torch.save([net.state_dict(), norms, kept], "final.pt")
print("FINAL", seen[-1], len(kept))
