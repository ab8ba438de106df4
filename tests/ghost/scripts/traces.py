"""Traces its model by torch.fx and torch.jit, scripts a function, and trains what came out of it."""

import torch
from torch import nn


@torch.jit.script
def scaled(x: torch.Tensor, by: float) -> torch.Tensor:
    return x * by if x.sum() > 0 else x / by


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 12)
        self.second = nn.Linear(12, 1)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


torch.manual_seed(4)
x = torch.randn(64, 6)
y = scaled(x[:, :1], 1.5)
traced = torch.jit.trace(Net(), x[:2])
symbolic = torch.fx.symbolic_trace(Net())
optimizer = torch.optim.Adam([*traced.parameters(), *symbolic.parameters()], lr=1e-2)
for step in range(40):
    out = traced(x) + symbolic(x)
    loss = (out - y).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 20:
        checked = torch.jit.trace(symbolic, x[:2])
        assert torch.equal(checked(x), symbolic(x))
torch.save({"traced": traced.state_dict(), "symbolic": symbolic.state_dict()}, "traces.pt")
print("FINAL", loss.item(), symbolic.code.count("linear"), len(list(traced.graph.nodes())))
