"""torch.compile (aot_eager), a residual MLP, OneCycleLR."""

import os

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(88)


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.up = nn.Linear(d, 2 * d)
        self.down = nn.Linear(2 * d, d)

    def forward(self, x):
        return x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self, d=64, depth=3):
        super().__init__()
        self.stem = nn.Linear(20, d)
        self.blocks = nn.ModuleList(Block(d) for _ in range(depth))
        self.head = nn.Linear(d, 1)

    def forward(self, x):
        x = self.stem(x)
        for b in self.blocks:
            x = b(x)
        return self.head(x).squeeze(-1)


def main():
    x = torch.randn(2000, 20)
    y = (x[:, 0] * x[:, 1] + x[:, 2].sin() > 0).float()
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True, drop_last=True)
    model = Net()
    fast = torch.compile(model, backend="aot_eager")
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    epochs = 12
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=4e-3, total_steps=epochs * len(loader))
    os.makedirs("compiled", exist_ok=True)
    with open("compiled/train.log", "w") as log:
        for epoch in range(epochs):
            total = correct = 0.0
            for xb, yb in loader:
                out = fast(xb)
                loss = nn.functional.binary_cross_entropy_with_logits(out, yb)
                opt.zero_grad()
                loss.backward()
                opt.step()
                sched.step()
                total += loss.item()
                correct += ((out > 0) == (yb > 0.5)).float().mean().item()
            log.write(
                f"{epoch} {total / len(loader):.8f} {correct / len(loader):.6f} {sched.get_last_lr()[0]:.3e}\n"
            )
            log.flush()
    torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, "compiled/final.pt")


if __name__ == "__main__":
    main()
