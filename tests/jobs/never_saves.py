"""An ordinary PyTorch loop that saves nothing until its end: logs, evaluates, stops early, shuffles."""

# ruff: noqa: PTH123

import argparse
import random
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--step-delay", type=float, default=0.01, metavar="SECONDS")
    given = parser.parse_args()
    torch.manual_seed(5)
    random.seed(5)
    inputs = torch.randn(640, 16)
    data = TensorDataset(inputs, inputs.sum(1, keepdim=True) + 0.1 * torch.randn(640, 1))
    loader = DataLoader(data, batch_size=32, shuffle=True)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.7)
    best, step = float("inf"), 0
    with open("metrics.csv", "w") as log:
        for epoch in range(given.epochs):
            for batch, target in loader:
                loss = nn.functional.mse_loss(model(batch * random.uniform(0.9, 1.1)), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                log.write(f"{step},{loss.item()!r}\n")
                if step % 20 == 0:
                    print(f"step {step}/{given.epochs * 20} loss {loss.item():.6f}", flush=True)
                time.sleep(given.step_delay)
            schedule.step()
            if loss.item() < best:
                best = loss.item()
                with open("best.txt", "w") as file:
                    file.write(f"{epoch} {best!r}\n")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "final.pt")


if __name__ == "__main__":
    main()
