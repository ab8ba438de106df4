"""Curriculum: harder data and a larger batch every stage; the loader is built anew for each."""

import os
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset


class Tee:
    """Print to the screen and to a file."""

    def __init__(self, path):
        self.file = open(path, "w")

    def __call__(self, *words):
        line = " ".join(str(w) for w in words)
        print(line)
        self.file.write(line + "\n")
        self.file.flush()


def make_data(n, digits):
    a = torch.randint(0, 10, (n, digits))
    b = torch.randint(0, 10, (n, digits))
    return torch.cat([a, b], 1).float() / 10, ((a + b).sum(1) % 10)


def main():
    torch.manual_seed(8)
    os.makedirs("curriculum", exist_ok=True)
    say = Tee("curriculum/log.txt")
    x, y = make_data(4000, 4)
    difficulty = x.std(1)
    order = difficulty.argsort()
    x, y = x[order], y[order]
    data = TensorDataset(x, y)
    model = nn.Sequential(
        nn.Linear(8, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 10)
    )
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    batch, stage, losses = 16, 0, []
    while batch <= 128:
        share = min(1.0, 0.3 + 0.25 * stage)
        loader = DataLoader(
            Subset(data, range(int(len(data) * share))), batch_size=batch, shuffle=True
        )
        say(f"stage {stage}: {len(loader.dataset)} samples, batch {batch}")
        passes = 0
        while True:
            running = 0.0
            for xb, yb in loader:
                loss = nn.functional.cross_entropy(model(xb), yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                running += loss.item() * len(xb)
            passes += 1
            running /= len(loader.dataset)
            losses.append(running)
            say(f"  pass {passes} loss {running:.6f}")
            if passes >= 2 + stage or (len(losses) > 1 and losses[-2] - running < 1e-4):
                break
        batch *= 2
        stage += 1
        for g in optimizer.param_groups:
            g["lr"] *= 1.2
    torch.save((model.state_dict(), optimizer.state_dict()), "curriculum/state.pt")
    torch.save(torch.tensor(losses), "curriculum/losses.pt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
