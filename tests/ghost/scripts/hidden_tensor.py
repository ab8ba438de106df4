"""A tensor that only a set holds, which has no order that a name could be made of."""

import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
seen = set()
for step in range(60):
    x = torch.randn(8, 4)
    loss = model(x).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 3:
        seen.add(x * 2)
print("FINAL", loss.item())
