"""A pool's queue holds a step's losses for a while: a replay comes to its end before the pool does."""

import time
from concurrent.futures import ThreadPoolExecutor

import torch

torch.manual_seed(3)
model = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Tanh(), torch.nn.Linear(512, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
pool = ThreadPoolExecutor(1)
counted = []


def gather(logs):
    counted.append(len(logs))


total = 0.0
for step in range(60):
    loss = model(torch.randn(1024, 512)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 3:
        pool.submit(time.sleep, 0.3)
        pool.submit(gather, {"loss": loss.detach(), "rate": torch.tensor(1e-3)})
    total += loss.item()
pool.shutdown()
torch.save([model.state_dict(), optimizer.state_dict(), counted], "final.pt")
print("FINAL", total)
