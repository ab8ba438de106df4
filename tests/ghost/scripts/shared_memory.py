"""Arrays and tensors over the same memory: written through one, read through the other, much later."""

import numpy as np
import torch

torch.manual_seed(3)
model = torch.nn.Linear(6, 3)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
table = np.zeros((8, 3), np.float32)
whole, half = torch.from_numpy(table), torch.from_numpy(table[:4])
raw = bytearray(12)
counts = torch.frombuffer(raw, dtype=torch.float32)
history = []
for step in range(100):
    x = torch.randn(16, 6)
    out = model(x)
    if step == 3:
        pool, grid = torch.zeros(4, 3), torch.zeros(5, 4)
        seen, column = pool.numpy(), grid[1:].t().numpy()[2]
    kept = out.detach().numpy()
    loss = out.pow(2).mean() + (1 + counts.sum()) * out.mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    kept += 1.0
    if step in (52, 72, 92):
        pool += out.detach().abs().mean()
        grid += pool.sum()
        half += grid.mean()
        counts += 0.1
        seen[1] *= 2
    if step > 3:
        rate = 1e-2 * (1 + float(seen[0, 0]) + float(column[1]) + float(table[2, 1] + raw[3]))
        optimizer.param_groups[0]["lr"] = rate
        history.append(rate + pool[1].sum().item() + out.sum().item())
torch.save([model.state_dict(), pool, grid, whole, counts], "final.pt")
print("FINAL", sum(history), table.sum(), seen.sum(), bytes(raw).hex())
