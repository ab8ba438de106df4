"""The most copied loop there is: a checkpoint dict with both state dicts, saved every epoch, read by nobody."""

import argparse
import os
import shutil
import time

import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", default=24, type=int)
parser.add_argument("--lr", default=0.02, type=float)
parser.add_argument("--resume", default="", type=str, help="path to a checkpoint")
parser.add_argument("--save-dir", default="checkpoints")


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, val, n=1):
        self.sum += val * n
        self.count += n

    @property
    def avg(self):
        return self.sum / max(1, self.count)


def save_checkpoint(state, is_best, folder):
    path = os.path.join(folder, "checkpoint.pth.tar")
    torch.save(state, path)
    if is_best:
        shutil.copyfile(path, os.path.join(folder, "model_best.pth.tar"))


def train(loader, model, criterion, optimizer, epoch):
    losses, batch_time = AverageMeter(), AverageMeter()
    model.train()
    end = time.time()
    for i, (x, y) in enumerate(loader):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), x.size(0))
        batch_time.update(time.time() - end)
        end = time.time()
        if i % 10 == 0:
            print(
                f"Epoch: [{epoch}][{i}/{len(loader)}]\tTime {batch_time.avg:.3f}\tLoss {losses.avg:.4f}"
            )
    return losses.avg


def validate(loader, model):
    model.eval()
    top1 = AverageMeter()
    with torch.no_grad():
        for x, y in loader:
            top1.update((model(x).argmax(1) == y).float().mean().item(), len(y))
    print(f" * Acc@1 {top1.avg:.3f}")
    return top1.avg


def main():
    args = parser.parse_args()
    torch.manual_seed(6)
    centers = torch.randn(10, 32)
    y = torch.randint(0, 10, (1600,))
    x = centers[y] + 1.3 * torch.randn(1600, 32)
    train_loader = DataLoader(TensorDataset(x[:1280], y[:1280]), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(x[1280:], y[1280:]), batch_size=64)
    model = nn.Sequential(
        nn.Linear(32, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10)
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=1e-4)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=8, gamma=0.3)
    start_epoch, best_acc1 = 0, 0
    if args.resume:
        state = torch.load(args.resume)
        start_epoch, best_acc1 = state["epoch"], state["best_acc1"]
        model.load_state_dict(state["state_dict"])
        optimizer.load_state_dict(state["optimizer"])
    os.makedirs(args.save_dir, exist_ok=True)
    log = open(os.path.join(args.save_dir, "log.csv"), "w")
    log.write("epoch,loss,acc1\n")
    for epoch in range(start_epoch, args.epochs):
        loss = train(train_loader, model, criterion, optimizer, epoch)
        acc1 = validate(val_loader, model)
        scheduler.step()
        is_best = acc1 > best_acc1
        best_acc1 = max(acc1, best_acc1)
        ckpt = {
            "epoch": epoch + 1,
            "state_dict": model.state_dict(),
            "best_acc1": best_acc1,
            "optimizer": optimizer.state_dict(),
        }
        save_checkpoint(ckpt, is_best, args.save_dir)
        log.write(f"{epoch},{loss:.8f},{acc1:.6f}\n")
        log.flush()
    log.close()


if __name__ == "__main__":
    main()
