"""Tensors that `forward` makes at first use and keeps beside the modules and in plain dicts of theirs."""

import collections
import sys

import torch

MASKS, ROWS = {}, []
TABLES = collections.OrderedDict()


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(6, 6)
        self.calls = 0
        self.scales = {}

    def forward(self, x):
        n = 3 + self.calls % 4
        self.calls += 1
        if n not in MASKS:
            MASKS[n] = torch.rand(n, n).tril()
            ROWS.append(torch.rand(n, 6))
            TABLES[f"table {n}"] = torch.rand(6)
            self.scales[f"of [{n}] rows"] = torch.rand(1) if n % 2 else MASKS[n].sum()
        scaled = self.inner(x[:n] + ROWS[n - 3]) * self.scales[f"of [{n}] rows"]
        return MASKS[n] @ scaled


torch.manual_seed(0)
net = Net()
opt = torch.optim.SGD(net.parameters(), 1e-3)
losses = []
for _ in range(100):
    loss = (net(torch.randn(8, 6)) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    losses.append(loss.item())
torch.save(
    (net.state_dict(), MASKS, ROWS, dict(TABLES), list(net.scales.items()), losses), "final.pt"
)
sys.stdout.write(f"FINAL {losses[-1]}\n")
