"""A whole training step is one operand of a sum; the other one waits on the stack, unnamed."""

import torch

torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)


def train_step():
    loss = model(torch.randn(8, 4)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


total = torch.zeros(1)
for _ in range(100):
    total = total * 0.9
    total = model(torch.randn(8, 4)).detach().mean(0) + train_step() + total
torch.save(total, "total.pt")
print("FINAL", total.item())
