"""A thread of the script's own fetches ahead."""

import threading

import torch


def fetch(ready, asked):
    stream = torch.Generator().manual_seed(5)
    while asked.acquire():
        batch = torch.randn(8, 4, generator=stream)
        ready.append(batch)


ready, asked = [], threading.Semaphore(0)
threading.Thread(target=fetch, args=(ready, asked), daemon=True, name="fetcher").start()
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
for _ in range(40):
    asked.release()
    while not ready:
        pass
    loss = model(ready.pop()).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("FINAL", loss.item())
