"""A flow whose module holds a distribution, which is neither a tensor nor a module."""

import torch
from torch.distributions import MultivariateNormal

torch.manual_seed(0)


class Flow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.prior = MultivariateNormal(torch.zeros(2), torch.eye(2))
        self.bend = torch.nn.Linear(2, 2)

    def forward(self, x):
        z = self.bend(x)
        if not hasattr(self, "posterior") or self.posterior.loc.shape != z.shape:
            self.posterior = MultivariateNormal(z.detach(), torch.eye(2))
        return self.prior.log_prob(z) + torch.linalg.slogdet(self.bend.weight)[1]


flow = Flow()
optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
points = torch.randn(256, 2) @ torch.tensor([[1.0, 0.4], [0.0, 0.5]])
for _ in range(100):
    loss = -flow(points[torch.randint(0, 256, (64,))]).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
torch.save([flow.state_dict(), flow.prior.sample(), flow.posterior.loc], "flow.pt")
print("FINAL", loss.item())
