"""Batches come by a stream of the script's own, a step ahead; losses go to pinned memory unwaited for."""

import torch
from torch import nn

on_gpu = torch.cuda.is_available()
device = torch.device("cuda" if on_gpu else "cpu")
torch.use_deterministic_algorithms(mode=True, warn_only=True)
torch.manual_seed(4)
WIDTH = 2048


class Prefetcher:
    """Holds the next batch, which may still be on its way when the step ends."""

    def __init__(self, count):
        self.left = count
        self.stream = torch.cuda.Stream() if on_gpu else None
        self.next = None
        self.fetch()

    def fetch(self):
        self.left -= 1
        host = torch.randn(256, WIDTH)
        if not on_gpu:
            self.next = host.mul(2.0)
            return
        host = host.pin_memory()
        with torch.cuda.stream(self.stream):
            # Long enough that a copy which did not wait would see it unfinished.
            torch.cuda._sleep(20_000_000)
            self.next = host.to(device, non_blocking=True).mul(2.0)

    def take(self):
        if on_gpu:
            torch.cuda.current_stream().wait_stream(self.stream)
            self.next.record_stream(torch.cuda.current_stream())
        return self.next


net = nn.Sequential(nn.Linear(WIDTH, 64), nn.Tanh(), nn.Linear(64, 1)).to(device)
optimizer = torch.optim.Adam(net.parameters(), 1e-3)
batches = Prefetcher(121)
losses = torch.zeros(120)
losses = losses.pin_memory() if on_gpu else losses
for step in range(120):
    x = batches.take()
    batches.fetch()
    loss = net(x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    losses[step].copy_(loss.detach(), non_blocking=True)
    optimizer.step()
if on_gpu:
    torch.cuda.synchronize()
torch.save({name: value.cpu() for name, value in net.state_dict().items()}, "final.pt")
torch.save(losses.clone(), "losses.pt")
print("FINAL", losses.mean().item())
