"""Tensors of no dimensions in lists, out of which tensors and arrays are made; of subclasses as well."""

import numpy as np
import torch


class Marked(torch.Tensor):
    """A tensor that keeps its class."""


class Counted(torch.Tensor):
    """A tensor that says itself what a subscript is."""

    def __getitem__(self, index):
        return super().__getitem__(index)


torch.manual_seed(0)
policy = torch.nn.Linear(4, 3)
scale = torch.nn.Parameter(torch.tensor(1.5))
optimizer = torch.optim.Adam([*policy.parameters(), scale], 1e-2)
made = []
for _ in range(60):
    probabilities = torch.softmax(policy(torch.randn(5, 4)) * scale, 1)
    chosen = torch.multinomial(probabilities, 1).squeeze(1)
    returns = torch.tensor([float(action == 0) for action in chosen])
    returns = (returns - returns.mean()) / (returns.std() + 1e-8)
    losses = []
    for probability, action, R in zip(probabilities, chosen, returns):
        value = torch.tensor([R])
        losses.append(-probability[action].log() * value + (value - torch.tensor((R, 1.0))).sum())
    loss = torch.stack(losses).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    one = returns[0]
    kinds = [one, scale.detach(), one.as_subclass(Marked), one.double()]
    made.append(torch.tensor([returns[0], returns[-1]], dtype=torch.float64))
    made.append(torch.as_tensor([[x, 2.0] for x in kinds]))
    made.append(torch.FloatTensor([one, scale]).view(torch.tensor(2), 1))
    made.append(torch.zeros(chosen[0] + 1, 2).new_tensor([one]))
    made.append(torch.from_numpy(np.array([one, one.item()])))
    made.append(torch.tensor([one.as_subclass(Marked), 2.0]))
    made.append(one.as_subclass(Counted)[None].as_subclass(torch.Tensor))
torch.save([policy, scale, optimizer.state_dict(), made], "final.pt")
print("FINAL", loss.item(), made[1].tolist())
