"""Stochastic weight averaging with torch.optim.swa_utils, batch norm refreshed at the end."""

import os

import torch
import torch.nn as nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, random_split, TensorDataset

EPOCHS, SWA_START = 20, 10


def two_spirals(n):
    t = torch.sqrt(torch.rand(n)) * 9
    side = torch.randint(0, 2, (n,))
    sign = side * 2.0 - 1
    x = torch.stack([sign * t * torch.cos(t), sign * t * torch.sin(t)], 1) / 9
    return x + 0.03 * torch.randn(n, 2), side


def main():
    torch.manual_seed(2024)
    full = TensorDataset(*two_spirals(2400))
    train_set, val_set = random_split(full, [2000, 400])
    loader = DataLoader(train_set, batch_size=50, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=200)
    model = nn.Sequential(
        nn.Linear(2, 96),
        nn.BatchNorm1d(96),
        nn.ReLU(),
        nn.Linear(96, 96),
        nn.BatchNorm1d(96),
        nn.ReLU(),
        nn.Linear(96, 2),
    )
    swa_model = AveragedModel(model)
    opt = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=SWA_START)
    swa_sched = SWALR(opt, swa_lr=0.05, anneal_epochs=3)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)
    os.makedirs("swa", exist_ok=True)
    log = open("swa/metrics.csv", "w")
    print("epoch,loss,acc,lr", file=log)
    for epoch in range(EPOCHS):
        model.train()
        tot, n = 0.0, 0
        for xb, yb in loader:
            opt.zero_grad()
            loss = loss_fn(model(xb), yb)
            loss.backward()
            opt.step()
            tot += loss.item() * len(xb)
            n += len(xb)
        if epoch >= SWA_START:
            swa_model.update_parameters(model)
            swa_sched.step()
        else:
            sched.step()
        model.eval()
        with torch.no_grad():
            acc = (
                torch.cat([model(xb).argmax(1) == yb for xb, yb in val_loader])
                .float()
                .mean()
                .item()
            )
        print(f"{epoch},{tot / n},{acc},{opt.param_groups[0]['lr']}", file=log, flush=True)
        print("epoch", epoch, "acc", acc)
    update_bn(loader, swa_model)
    swa_model.eval()
    with torch.no_grad():
        acc = (
            torch.cat([swa_model(xb).argmax(1) == yb for xb, yb in val_loader])
            .float()
            .mean()
            .item()
        )
    print(f"swa,{acc}", file=log)
    log.close()
    torch.save(model.state_dict(), "swa/model.pt")
    torch.save(swa_model.state_dict(), "swa/swa_model.pt")
    torch.save(opt.state_dict(), "swa/opt.pt")


if __name__ == "__main__":
    main()
