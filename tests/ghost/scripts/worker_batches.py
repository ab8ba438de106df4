"""Batches that a worker makes and the loop keeps by name, in memory that both processes had."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Noise(Dataset):
    def __len__(self):
        return 480

    def __getitem__(self, index):
        x = torch.randn(8)
        return {"x": x, "known": x > -1}


torch.manual_seed(0)
net = nn.Linear(8, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
losses = []
for _ in range(2):
    for batch in DataLoader(Noise(), batch_size=8, shuffle=True, num_workers=1):
        x = batch["x"] * batch["known"]
        loss = (net(x) - x.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
torch.save([net.state_dict(), batch], "final.pt")
print("FINAL", sum(losses))
