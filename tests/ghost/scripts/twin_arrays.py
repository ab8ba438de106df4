"""Arrays over memory of tensors that nothing else holds: two of one tensor, as losses of tasks are kept."""

import numpy as np
import torch

torch.manual_seed(5)
model = torch.nn.Linear(6, 3)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
first, kept, history = None, [], []
for step in range(100):
    losses = model(torch.randn(16, 6)).pow(2).mean(0)
    if first is None:
        first = losses.data.cpu().numpy()
        grid = torch.zeros(4, 5)
        rows, column, part = grid.numpy(), grid[1:].t().numpy()[2], grid.numpy()[:2, ::2]
        del grid
    ratios = losses.data.cpu().numpy() / first
    kept.append(losses.detach().numpy())
    mean = losses.mean().detach().numpy()
    history.append((mean, float(mean)))
    (losses * torch.from_numpy(ratios / ratios.sum())).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    if step in (82, 92):
        rows += mean
        column[1] = step
    if step > 80:
        first[step % 3] *= 1.01
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 + 1e-3 * float(rows[2, 2] + part[0, 1]))
        history.append((kept[0].copy(), float(column.sum())))
torch.save([model.state_dict(), np.array(kept), rows, column, part], "final.pt")
print("FINAL", history[-1], rows.sum(), np.array(kept).sum(), part.tobytes().hex())
