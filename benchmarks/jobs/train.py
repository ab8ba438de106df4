"""A PyTorch loop of steps of about 20 ms on one core that saves regularly; it times its own steps.

    train.py TIMES --steps 300 --save-steps 50

TIMES gets one JSON object: seconds of every step (forward, backward, optimizer) and of every save.
"""

import argparse
import json
import time
from pathlib import Path

import torch

WIDTH = 1024
BATCH = 64
LAYERS = 3
WARM_STEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("times", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--save-steps", type=int, default=50)
    chosen = parser.parse_args()
    torch.manual_seed(1)
    layers: list[torch.nn.Module] = []
    for _ in range(LAYERS):
        layers += [torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    out = Path("out")
    out.mkdir(exist_ok=True)
    steps_s: list[float] = []
    saves_s: list[float] = []
    for step in range(1, WARM_STEPS + chosen.steps + 1):
        began = time.perf_counter()
        loss = model(torch.randn(BATCH, WIDTH)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step > WARM_STEPS:
            steps_s.append(time.perf_counter() - began)
        print(f"step {step} loss {loss.item():.4f}", flush=True)
        if step % chosen.save_steps == 0:
            began = time.perf_counter()
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, out / f"step-{step}.pt")
            (out / f"step-{step - 2 * chosen.save_steps}.pt").unlink(missing_ok=True)
            saves_s.append(time.perf_counter() - began)
    chosen.times.write_text(json.dumps({"steps_s": steps_s, "saves_s": saves_s}))


if __name__ == "__main__":
    main()
