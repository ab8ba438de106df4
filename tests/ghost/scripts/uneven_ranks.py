"""Two ranks, of which one holds for a while what no snapshot can name."""

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
torch.manual_seed(dist.get_rank())
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
held = set()
for step in range(40):
    x = torch.randn(8, 4)
    loss = model(x).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    if step == 5 and dist.get_rank():
        held.add(x * 2)
    if step == 15:
        held.clear()
    optimizer.step()
dist.destroy_process_group()
