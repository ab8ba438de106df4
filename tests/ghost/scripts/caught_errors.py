"""Errors of skipped calls that the script catches: no memory for a batch, a matrix that needs jitter."""

import sys

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.top = torch.nn.Linear(4, 8)

    def forward(self, x):
        if len(x) > 16:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return torch.tanh(self.top(x))


def cholesky(matrix):
    for power in range(-12, 0):
        try:
            return torch.linalg.cholesky(matrix + 10.0**power * torch.eye(len(matrix)))
        except torch.linalg.LinAlgError:
            powers.append(power)
    raise RuntimeError("not positive definite")


torch.manual_seed(0)
net = Net()
opt = torch.optim.Adam(net.parameters(), 1e-2)
powers, halved, losses = [], 0, []
for step in range(100):
    x = torch.randn(32 if step % 7 == 0 else 16, 4)
    try:
        hidden = net(x)
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        halved += 1
        hidden = net(x[:16])
    lower = cholesky(hidden @ hidden.T)
    loss = lower.diagonal().log().sum() ** 2 * 1e-4 + (hidden.mean() - 0.2) ** 2
    if step % 9 == 0:
        try:
            hidden.sum(1).backward()
        except RuntimeError:
            halved += 100
    opt.zero_grad()
    loss.backward()
    opt.step()
    losses.append(loss.item())
torch.save((net.state_dict(), opt.state_dict(), losses, powers, halved), "final.pt")
sys.stdout.write(f"FINAL {losses[-1]} {len(powers)} {halved}\n")
