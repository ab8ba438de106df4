"""A module compiled by TorchScript counts its calls, and keeps a mean that is no buffer and no parameter."""

import torch
from torch import nn

# Its later graphs compute other last bits, and when it makes them depends on calls that a replay skips.
torch._C._jit_set_profiling_executor(False)
torch._C._jit_set_profiling_mode(False)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.calls: int = 0
        self.rate: float = 1.0
        self.mean = torch.zeros(1)

    def forward(self, x):
        self.calls += 1
        self.rate *= 0.99
        y = self.linear(x)
        self.mean = self.mean * 0.9 + x.mean() * 0.1
        if self.calls > 95:
            y = y * 1.5 + self.mean * self.rate
        return y


torch.manual_seed(0)
model = torch.jit.script(Counting())
optimizer = torch.optim.SGD(model.parameters(), 0.05)
x = torch.randn(32, 4)
for _ in range(100):
    loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("FINAL", loss.item(), model.calls, model.rate, model.mean.item())
