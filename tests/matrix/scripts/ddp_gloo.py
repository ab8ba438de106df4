"""DistributedDataParallel by torchrun, DistributedSampler, all_reduce of the metrics."""

import argparse
import os

import torch
import torch.distributed as dist
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--epochs", type=int, default=14)
    ap.add_argument("--out", default="ddp_run")
    a = ap.parse_args()
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(100 + rank)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1536, 24, generator=g)
    y = torch.sin(x @ torch.randn(24, 3, generator=g))
    data = TensorDataset(x, y)
    sampler = DistributedSampler(data, shuffle=True, seed=4)
    loader = DataLoader(data, batch_size=16, sampler=sampler)
    model = DDP(nn.Sequential(nn.Linear(24, 128), nn.Tanh(), nn.Dropout(0.1), nn.Linear(128, 3)))
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    if rank == 0:
        os.makedirs(a.out, exist_ok=True)
        log = open(f"{a.out}/loss.csv", "w")
    for epoch in range(a.epochs):
        sampler.set_epoch(epoch)
        total = torch.zeros(2)
        for xb, yb in loader:
            loss = nn.functional.mse_loss(model(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += torch.tensor([loss.item() * len(xb), len(xb)])
        dist.all_reduce(total)
        if rank == 0:
            mean = (total[0] / total[1]).item()
            print(f"[{rank}] epoch {epoch} loss {mean:.5f}", flush=True)
            log.write(f"{epoch},{mean!r}\n")
            log.flush()
    dist.barrier()
    torch.save(torch.get_rng_state(), f"{a.out}/rng_{rank}.pt")
    if rank == 0:
        log.close()
        torch.save(
            {"model": model.module.state_dict(), "opt": opt.state_dict()}, f"{a.out}/last.pt"
        )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
