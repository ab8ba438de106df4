"""Indices drawn once an epoch from a stream that only the frame of a generator function holds."""

import torch

torch.manual_seed(0)
x = torch.randn(100, 4)
y = x.abs().sum(1, keepdim=True)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.02)


def batches():
    stream = torch.Generator().manual_seed(5)
    noise = torch.Generator().manual_seed(6)
    weights = torch.empty(100)
    for _ in range(4):
        weights.exponential_(generator=noise)
        order = torch.multinomial(weights, 100, generator=stream).tolist()
        for at in range(0, 100, 4):
            yield order[at : at + 4]


for batch in batches():
    loss = (model(x[batch]) - y[batch]).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("FINAL", model.weight.tolist(), loss.item())
