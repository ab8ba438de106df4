"""LBFGS: closures, and a state whose lists grow."""

import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
x = torch.randn(64, 8)
y = x.pow(2).sum(1, keepdim=True)
history = []


def closure():
    optimizer.zero_grad()
    loss = (model(x) - y).pow(2).mean()
    loss.backward()
    return loss


for _ in range(60):
    history.append(optimizer.step(closure).item())
torch.save(model.state_dict(), "final.pt")
print("FINAL", history[-1])
