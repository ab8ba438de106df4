"""A plain PyTorch loop that times its own steps, by its thread's processor time and by the wall.

    steps.py TIMES --steps 500 --width 64 --layers 2 --batch 32 [--state-mb 256]

TIMES gets one JSON object, with the most memory that was used. The clock is one that no hook wraps, so that
timing is no part of what is timed; the times are kept in memory where no snapshot looks, for a replay has
other ones.
"""

import argparse
import json
import resource
import time
from mmap import mmap
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("times", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--state-mb", type=int, default=0)
    chosen = parser.parse_args()
    torch.manual_seed(1)
    layers: list[torch.nn.Module] = []
    for _ in range(chosen.layers):
        layers += [torch.nn.Linear(chosen.width, chosen.width), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers)
    ballast = torch.zeros(chosen.state_mb << 18)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = TensorDataset(torch.randn(64 * chosen.batch, chosen.width))
    times_s = memoryview(mmap(-1, 16 * (chosen.steps + 64))).cast("d")
    losses: list[float] = []
    while len(losses) < chosen.steps:
        for (x,) in DataLoader(data, batch_size=chosen.batch, shuffle=True):
            loss = model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            at = 2 * len(losses)
            times_s[at - 2] = time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)
            times_s[at - 1] = time.clock_gettime(time.CLOCK_MONOTONIC)
        ballast += 1
    kept_s = times_s[: 2 * len(losses)]
    peak_b = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = {"cpu_s": list(kept_s[::2]), "wall_s": list(kept_s[1::2]), "peak_b": peak_b}
    chosen.times.write_text(json.dumps(times))


if __name__ == "__main__":
    main()
