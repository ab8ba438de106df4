"""An LSTM whose hidden state is carried from batch to batch; its dropout between layers is an argument."""

import sys

import torch
from torch import nn

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.use_deterministic_algorithms(mode=True, warn_only=True)
torch.manual_seed(3)
series = torch.sin(torch.arange(4000) / 9.0)[None, :, None].repeat(8, 1, 1)
series = (series + 0.1 * torch.randn(8, 4000, 1)).to(device)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(1, 32, num_layers=2, dropout=float(sys.argv[1]), batch_first=True)
        self.head = nn.Linear(32, 1)

    def forward(self, x, state):
        y, state = self.cells(x, state)
        return self.head(y), state


net = Net().to(device)
optimizer = torch.optim.RMSprop(net.parameters(), 1e-3, momentum=0.9)
state, best = None, float("inf")
for step in range(120):
    at = step * 32 % 3900
    if at < 32:
        state = None
    guess, state = net(series[:, at : at + 32], state)
    state = tuple(part.detach() for part in state)
    loss = (guess - series[:, at + 1 : at + 33]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    for p in net.parameters():
        p.grad.clamp_(-0.5, 0.5)
    optimizer.step()
    if loss.item() < best:
        best = loss.item()
        kept = {name: value.clone() for name, value in net.state_dict().items()}
torch.save({name: value.cpu() for name, value in kept.items()}, "best.pt")
torch.save([part.cpu() for part in state], "state.pt")
print("FINAL", best, loss.item())
