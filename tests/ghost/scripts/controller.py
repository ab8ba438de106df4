"""A controller learns now and then, through the graphs of all that it has chosen for its child until then."""

import sys

import torch

every, steps = map(int, sys.argv[1:])
torch.manual_seed(0)
logits = torch.nn.Parameter(torch.zeros(4))
slow = torch.optim.Adam([logits], 0.05)
child = torch.nn.ModuleList([torch.nn.Linear(6, 1) for _ in range(4)])
fast = torch.optim.SGD(child.parameters(), 0.02)
x = torch.randn(128, 6)
y = x.abs().sum(1, keepdim=True)
choices, rewards = [], []
for step in range(steps):
    chosen = torch.distributions.Categorical(logits=logits).sample()
    choices.append(x[step % 128].abs().sum() * torch.log_softmax(logits, 0)[chosen])
    loss = (child[chosen.item()](x) - y).pow(2).mean()
    fast.zero_grad()
    loss.backward()
    fast.step()
    rewards.append(-loss.item())
    if step % every == every - 1:
        gain = torch.tensor(rewards)
        slow.zero_grad()
        (-torch.stack(choices) * (gain - gain.mean())).sum().backward()
        slow.step()
        choices, rewards = [], []
print("FINAL", logits.tolist(), loss.item())
