"""Functions compiled by TorchScript, and a forward derivative, whose rules torch compiles at first use."""

import torch
from torch import nn


@torch.jit.script
def penalty(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Call what the hooks have wrapped: functions of C++, and of Python."""
    kind = torch.nn.functional.one_hot(y, 3)
    loss = torch.nn.functional.cross_entropy(x, y) + torch.linalg.norm(x * kind)
    return loss + torch.where(x > 0, x, -x).mean() + torch.arange(3).sum() * 0


torch.manual_seed(0)
model = nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
for _step in range(40):
    x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))
    loss = penalty(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
slope = torch.func.jvp(lambda w: (x @ w).sin().sum(), (torch.ones(4),), (torch.ones(4),))[1]
torch.save([model.state_dict(), slope], "out.pt")
print("FINAL", loss.item(), slope.item())
