"""Hogwild: the training happens in two children by mp.spawn on shared parameters, one thread of work each."""

import os

import torch
import torch.multiprocessing as mp
import torch.nn as nn


def build():
    return nn.Sequential(
        nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )


def worker(rank, model, losses, steps):
    torch.manual_seed(100 + rank)
    opt = torch.optim.SGD(model[rank].parameters(), lr=0.02, momentum=0.9)
    for step in range(steps):
        x = torch.randn(64, 10)
        y = (x[:, :1] * x[:, 1:2]).sin()
        loss = ((model[rank](x) - y) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses[rank, step] = loss.item()
    torch.save(opt.state_dict(), f"hogwild/opt_{rank}.pt")


def main():
    torch.manual_seed(1)
    os.makedirs("hogwild", exist_ok=True)
    models = [build().share_memory() for _ in range(2)]
    losses = torch.zeros(2, 1200).share_memory_()
    mp.spawn(worker, args=(models, losses, 1200), nprocs=2)
    with open("hogwild/losses.csv", "w") as f:
        for i, (a, b) in enumerate(losses.T.tolist()):
            f.write(f"{i},{a!r},{b!r}\n")
    mean = {
        k: (models[0].state_dict()[k] + models[1].state_dict()[k]) / 2
        for k in models[0].state_dict()
    }
    torch.save(mean, "hogwild/model.pt")


if __name__ == "__main__":
    main()
