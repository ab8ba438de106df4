"""What `forward` leaves on the layers for others: a divergence to be added, attention, lists and a flag."""

import sys

import torch


class Bayes(torch.nn.Module):
    def __init__(self, inner, outer):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.randn(outer, inner) * 0.1)
        self.rho = torch.nn.Parameter(torch.full((outer, inner), -4.0))
        self.divergence = 0
        self.parts = None

    def forward(self, x):
        scale = torch.nn.functional.softplus(self.rho)
        self.divergence = (0.5 * (scale**2 + self.mean**2) - scale.log()).sum()
        self.parts = {"scale": scale.detach().mean(), "rows": [x.mean(0), len(x)]}
        self.weight_used = self.mean + scale * torch.randn_like(scale)
        return x @ self.weight_used.T


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = Bayes(6, 16), Bayes(16, 1)

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))

    def divergence(self):
        return sum(m.divergence for m in self.modules() if isinstance(m, Bayes))


torch.manual_seed(0)
net = Net()
opt = torch.optim.Adam(net.parameters(), 1e-2)
seen = []
for _ in range(100):
    x = torch.randn(20, 6)
    loss = ((net(x) - x[:, :1]) ** 2).mean() + 1e-3 * net.divergence()
    loss = loss + 1e-3 * net.one.weight_used.abs().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    parts = net.two.parts
    seen.append((loss.item(), parts["scale"].item(), parts["rows"][0].sum().item()))
torch.save((net.state_dict(), opt.state_dict(), seen), "final.pt")
sys.stdout.write(f"FINAL {seen[-1]}\n")
