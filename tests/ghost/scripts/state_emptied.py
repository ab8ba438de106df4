"""A search for the learning rate puts back an optimizer without state; the best state is kept as a copy."""

import copy

import torch


def run(steps):
    for _ in range(steps):
        rows = torch.randint(0, 200, (20,))
        loss = torch.nn.functional.mse_loss(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


torch.manual_seed(6)
x = torch.randn(200, 6)
y = x.sin().sum(1, keepdim=True)
model = torch.nn.Sequential(torch.nn.Linear(6, 24), torch.nn.Tanh(), torch.nn.Linear(24, 1))
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
before = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
for group in optimizer.param_groups:
    group["lr"] = 1e-2 if run(15) < 2 else 5e-3
model.load_state_dict(before[0])
optimizer.load_state_dict({**before[1], "param_groups": optimizer.state_dict()["param_groups"]})
best = None
for epoch in range(11):
    lost = run(8)
    if best is None or lost < best[0]:
        best = (lost, copy.deepcopy([model.state_dict(), optimizer.state_dict()]))
    elif epoch > 6:
        model.load_state_dict(best[1][0])
        optimizer.load_state_dict(best[1][1])
torch.save([model.state_dict(), optimizer.state_dict(), best], "final.pt")
print("FINAL", best[0], len(optimizer.state))
