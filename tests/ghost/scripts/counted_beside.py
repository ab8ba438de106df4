"""Forward passes count in classes, globals, meters and nested dicts; the loop reads some of them at once."""

import collections

import torch
from torch import nn

STATS = {"passes": 0, "largest": 0.0, "rows": {"seen": 0, "means": []}}
KINDS = collections.Counter()
HISTORY, COUNT, TOLD = [], 0, []


class Meter:
    """A running mean, as many scripts have it."""

    def __init__(self):
        self.range = [0.0, 0.0]
        self.sum, self.count, self.last = 0.0, 0, collections.deque(maxlen=5)

    def update(self, value):
        self.sum += value
        self.count += 1
        self.last.append(value)
        self.range = [min(self.last), max(self.last)]

    @property
    def mean(self):
        return self.sum / max(1, self.count)


def note(value):
    global COUNT
    COUNT += 1
    HISTORY.append(value)
    TOLD.append(("mean", COUNT))
    KINDS["low" if value < 0.5 else "high"] += 1


class Counted(nn.Linear):
    calls, names = 0, ["linear"]

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.meter = Meter()
        self.stats = {"n": 0, "sizes": []}

    def forward(self, x):
        Counted.calls += 1
        type(self).names.append(f"pass {Counted.calls}")
        self.stats["n"] += len(x)
        self.stats["sizes"].append(len(x))
        out = super().forward(x)
        size = out.abs().mean().item()
        self.meter.update(size)
        return out / (1 + self.meter.mean)


class Net(nn.Module):
    total = 0

    def __init__(self):
        super().__init__()
        self.one, self.two = Counted(6, 16), Counted(16, 1)

    def forward(self, x):
        self.__class__.total += 1
        STATS["passes"] += 1
        STATS["rows"]["seen"] += len(x)
        y = self.two(torch.tanh(self.one(x)))
        STATS["largest"] = max(STATS["largest"], y.abs().max().item())
        STATS["rows"]["means"].append(y.mean().item())
        note(meter.mean)
        meter.update(STATS["largest"])
        return y * (1 + Net.total / 1000)


def gathered(_module, _args, out):
    HISTORY.append(round(out.sum().item(), 3))


torch.manual_seed(0)
net, meter = Net(), Meter()
net.two.register_forward_hook(gathered)
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
seen = []
for step in range(100):
    x = torch.randn(8 + step % 5, 6)
    loss = (net(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.param_groups[0]["lr"] = 0.05 / (1 + STATS["passes"] / 50 + HISTORY[-1] ** 2)
    optimizer.step()
    if step % 10 == 9:
        seen.append(
            (Counted.calls, meter.mean, net.one.stats["n"], dict(KINDS), COUNT, meter.range)
        )
        HISTORY.append(STATS["rows"]["means"][-1])
kept = (STATS, dict(KINDS), HISTORY, TOLD, COUNT, Counted.calls, Counted.names, Net.total, seen)
torch.save([net.state_dict(), vars(net.one.meter), net.one.stats, kept], "final.pt")
print("FINAL", loss.item(), seen[-1], len(HISTORY), len(Counted.names))
