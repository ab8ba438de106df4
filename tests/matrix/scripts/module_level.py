import torch
from torch import nn

# quick experiment: does a sine activation help on this?
torch.manual_seed(0)
x = torch.linspace(-3, 3, 512)[:, None]
y = torch.sin(4 * x) + 0.3 * torch.sin(17 * x) + 0.02 * torch.randn_like(x)


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(8 * x)


net = nn.Sequential(nn.Linear(1, 96), Sine(), nn.Linear(96, 96), Sine(), nn.Linear(96, 1))
opt = torch.optim.Adam(net.parameters(), lr=5e-4)
best = 9e9
hist = []
for i in range(1100):
    k = torch.randint(0, 512, (128,))
    loss = ((net(x[k]) - y[k]) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    hist += [loss.item()]
    if hist[-1] < best:
        best = hist[-1]
        best_i = i
    if i % 100 == 0:
        print(i, hist[-1], best, best_i)
print("done", best, best_i)
torch.save(net, "net.pt")
torch.save(opt.state_dict(), "net_opt.pt")
open("hist.txt", "w").write("\n".join(map(repr, hist)))
