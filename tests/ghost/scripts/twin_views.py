"""A buffer and an array over the memory of a tensor that nothing else holds."""

import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
for step in range(30):
    loss = model(torch.randn(8, 4)).pow(2).mean()
    if step == 3:
        hidden = torch.zeros(4)
        one, other = hidden.numpy(), memoryview(hidden.numpy())
        del hidden
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("FINAL", loss.item())
