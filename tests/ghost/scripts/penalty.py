"""The penalty of a critic stays alive with its graph, and with the points at which it was taken."""

import torch

torch.manual_seed(5)
critic = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)


def penalty(real, fake):
    share = torch.rand(real.size(0), 1)
    between = (share * real + (1 - share) * fake).requires_grad_(True)
    out = critic(between)
    (slope,) = torch.autograd.grad(out.sum(), between, create_graph=True)
    return ((slope.norm(2, dim=1) - 1) ** 2).mean()


total = 0.0
for _ in range(100):
    real, fake = torch.randn(16, 2), torch.randn(16, 2) + 1
    smooth = penalty(real, fake)
    loss = critic(fake).mean() - critic(real).mean() + 10 * smooth
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    total += smooth.item()
torch.save([critic.state_dict(), optimizer.state_dict()], "final.pt")
print("FINAL", total)
