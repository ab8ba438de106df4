"""Small image classifier: augmentation, plateau schedule, early stopping, best.pt."""

import argparse
import csv
import os
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

parser = argparse.ArgumentParser(description="Shapes CNN")
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--patience", type=int, default=8)
parser.add_argument("--seed", type=int, default=42)
parser.add_argument("--output-dir", default="runs/cnn")
args = parser.parse_args()


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Shapes(Dataset):
    """Noisy crosses, squares, bars and discs of 16x16."""

    def __init__(self, n, train, seed):
        rng = np.random.RandomState(seed)
        self.train = train
        self.images, self.labels = [], []
        yy, xx = np.mgrid[0:16, 0:16]
        for _ in range(n):
            kind = rng.randint(4)
            cy, cx = rng.randint(5, 11, size=2)
            if kind == 0:
                img = (abs(yy - cy) < 2) | (abs(xx - cx) < 2)
            elif kind == 1:
                img = (abs(yy - cy) < 4) & (abs(xx - cx) < 4)
            elif kind == 2:
                img = abs(yy - cy) < 2
            else:
                img = (yy - cy) ** 2 + (xx - cx) ** 2 < 14
            self.images.append((img + rng.randn(16, 16) * 0.9).astype(np.float32))
            self.labels.append(kind)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        img = self.images[i]
        if self.train:
            if random.random() < 0.5:
                img = img[:, ::-1]
            dy, dx = np.random.randint(-2, 3, size=2)
            img = np.roll(img, (dy, dx), axis=(0, 1))
        img = torch.from_numpy(np.ascontiguousarray(img))[None]
        if self.train and torch.rand(1).item() < 0.25:
            img = img + 0.1 * torch.randn_like(img)
        return img, self.labels[i]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(32 * 16, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(self.drop(x.flatten(1)))


def evaluate(model, loader):
    model.eval()
    loss = correct = total = 0
    with torch.no_grad():
        for x, y in loader:
            out = model(x)
            loss += F.cross_entropy(out, y, reduction="sum").item()
            correct += (out.argmax(1) == y).sum().item()
            total += len(y)
    return loss / total, correct / total


def main():
    seed_everything(args.seed)
    os.makedirs(args.output_dir, exist_ok=True)
    train_loader = DataLoader(Shapes(960, True, 0), args.batch_size, shuffle=True, drop_last=True)
    val_loader = DataLoader(Shapes(256, False, 1), 128)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    best, bad = float("inf"), 0
    log = open(os.path.join(args.output_dir, "log.csv"), "w", newline="")
    writer = csv.writer(log)
    writer.writerow(["epoch", "train_loss", "val_loss", "val_acc", "lr"])
    for epoch in range(args.epochs):
        model.train()
        running = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            running += loss.item()
        val_loss, val_acc = evaluate(model, val_loader)
        scheduler.step(val_loss)
        lr = optimizer.param_groups[0]["lr"]
        writer.writerow([epoch, running / len(train_loader), val_loss, val_acc, lr])
        log.flush()
        print(
            f"epoch {epoch:3d} train {running / len(train_loader):.4f} val {val_loss:.4f} acc {val_acc:.3f}"
        )
        if val_loss < best:
            best, bad = val_loss, 0
            torch.save(model.state_dict(), os.path.join(args.output_dir, "best.pt"))
        else:
            bad += 1
            if bad >= args.patience:
                print("early stop")
                break
    log.close()
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "best": best},
        os.path.join(args.output_dir, "last.pt"),
    )


if __name__ == "__main__":
    main()
