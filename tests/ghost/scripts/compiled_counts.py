"""A model compiled for fixed shapes counts its passes; with it the compiler keeps its settings."""

import torch
from torch import nn

STATS = {"n": 0}
N = 0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 8)
        self.o = nn.Linear(8, 1)

    def forward(self, x):
        global N
        N += 1
        STATS["n"] += 1
        return self.o(torch.tanh(self.l(x)))


torch.manual_seed(0)
raw = Net()
net = torch.compile(raw, backend="eager", dynamic=False)
opt = torch.optim.SGD(raw.parameters(), 0.05)
for _ in range(60):
    x = torch.randn(8, 4)
    loss = (net(x) - x.sum(1, keepdim=True)).pow(2).mean()
    opt.zero_grad()
    loss.backward()
    opt.param_groups[0]["lr"] = 0.05 / (1 + STATS["n"] / 100)
    opt.step()
torch.save((raw.state_dict(), STATS, N), "final.pt")
print("FINAL", loss.item(), STATS, N)
