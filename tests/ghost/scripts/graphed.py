"""Captures its training step as a CUDA graph: a recording cannot see into it, and must not disturb it."""

import torch
from torch import nn

torch.manual_seed(7)
device = torch.device("cuda")
net = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1)).to(device)
optimizer = torch.optim.Adam(net.parameters(), 1e-3, capturable=True)
batch = torch.randn(64, 32, device=device)
side = torch.cuda.Stream()
side.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(side):
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        net(batch).square().mean().backward()
        optimizer.step()
torch.cuda.current_stream().wait_stream(side)
graph = torch.cuda.CUDAGraph()
optimizer.zero_grad(set_to_none=True)
with torch.cuda.graph(graph):
    loss = net(batch).square().mean()
    loss.backward()
    optimizer.step()
for _ in range(200):
    batch.copy_(torch.randn(64, 32))
    graph.replay()
torch.save({name: value.cpu() for name, value in net.state_dict().items()}, "final.pt")
print("FINAL", loss.item())
