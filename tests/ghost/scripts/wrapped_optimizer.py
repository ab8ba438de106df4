"""An optimizer inside another one has a schedule, and the first step makes attributes of both."""

import torch


class Lookahead(torch.optim.Optimizer):
    def __init__(self, inner):
        self.inner = inner
        super().__init__(inner.param_groups, {})

    def step(self, closure=None):
        loss = self.inner.step(closure)
        self.taken = getattr(self, "taken", 0) + 1
        return loss


torch.manual_seed(0)
net = torch.nn.Linear(5, 1)
inner = torch.optim.Adam(net.parameters(), 0.05)
optimizer = Lookahead(inner)
schedule = torch.optim.lr_scheduler.StepLR(inner, 30)
for _ in range(100):
    x = torch.randn(8, 5)
    loss = (net(x) - x.sum(1, keepdim=True)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
torch.save((net.state_dict(), inner.state_dict()), "final.pt")
print("FINAL", loss.item(), optimizer.taken)
