"""Hooks on modules that hold a tensor and a count that nothing else leads to."""

import torch

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


class Centred:
    def __init__(self):
        self.calls, self.mean = 0, torch.zeros(8)

    def __call__(self, _module, _args, out):
        self.calls += 1
        self.mean = self.mean * 0.9 + out.detach().mean(0) * 0.1
        return out / (1 + self.calls / 100) + self.mean * 0.1


def growing():
    calls = 0

    def hook(_module, _args, out):
        nonlocal calls
        calls += 1
        return out * (1 + calls / 100)

    return hook


net[0].register_forward_hook(Centred())
net[2].register_forward_hook(growing())
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
for _ in range(100):
    x = torch.randn(16, 6)
    loss = (net(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
torch.save([p.detach() for p in net.parameters()], "final.pt")
print("FINAL", loss.item())
