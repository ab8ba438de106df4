"""A second model is trained by another thread."""

import threading

import torch


def train(model, steps):
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    for _ in range(steps):
        loss = model(torch.ones(8, 4)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


models = [torch.nn.Linear(4, 1) for _ in range(2)]
other = threading.Thread(target=train, args=(models[1], 30))
train(models[0], 3)
other.start()
other.join()
train(models[0], 30)
print("FINAL", sum(m.weight.sum().item() for m in models))
