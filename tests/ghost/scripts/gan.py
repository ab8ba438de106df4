"""Two optimizers in turn, an average kept in a dict, a pool of old samples, a loss summed on the device."""

import random

import torch

torch.manual_seed(4)
random.seed(4)
maker = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
judge = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Dropout(0.1), torch.nn.Linear(32, 1))
maker_steps = torch.optim.Adam(maker.parameters(), 2e-3)
judge_steps = torch.optim.Adam(judge.parameters(), 2e-3)
average = {k: v.detach().clone() for k, v in maker.state_dict().items()}
pool, total, history = [], torch.zeros(()), []
error = torch.nn.BCEWithLogitsLoss()
for step in range(60):
    real = torch.randn(16, 2)
    made = maker(torch.randn(16, 8))
    if len(pool) < 5:
        pool.append(made.detach())
    elif random.random() < 0.5:
        pool[random.randrange(5)] = made.detach()
    loss = error(judge(real), torch.ones(16, 1)) + error(judge(pool[-1]), torch.zeros(16, 1))
    point = real.clone().requires_grad_()
    slope = torch.autograd.grad(judge(point).sum(), point, create_graph=True)[0]
    loss = loss + 0.1 * slope.pow(2).sum(1).mean()
    judge_steps.zero_grad()
    loss.backward()
    judge_steps.step()
    fooled = error(judge(made), torch.ones(16, 1))
    maker_steps.zero_grad()
    fooled.backward()
    maker_steps.step()
    total += loss.detach()
    with torch.no_grad():
        for name, value in maker.state_dict().items():
            average[name].data.mul_(0.95).add_(value, alpha=0.05)
    if step % 10 == 9:
        history.append(total.item())
        total = torch.zeros(())
torch.save([maker.state_dict(), judge.state_dict(), average, pool], "final.pt")
print("FINAL", history)
