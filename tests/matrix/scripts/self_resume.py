"""Reads its own checkpoint when there is one; saves every hundred steps, data position and RNG included."""

import os

import torch
import torch.nn as nn

CKPT = "state/latest.pt"
STEPS = 1000


def main():
    torch.manual_seed(70)
    model = nn.Sequential(
        nn.Linear(24, 160),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(160, 160),
        nn.ReLU(),
        nn.Linear(160, 4),
    )
    teacher = nn.Linear(24, 4)
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    os.makedirs("state", exist_ok=True)
    start = 0
    if os.path.exists(CKPT):
        saved = torch.load(CKPT)
        model.load_state_dict(saved["model"])
        opt.load_state_dict(saved["opt"])
        torch.set_rng_state(saved["rng"])
        start = saved["step"]
        print("found", CKPT, "at step", start, flush=True)
    for step in range(start + 1, STEPS + 1):
        x = torch.randn(64, 24)
        y = teacher(x).argmax(1).detach()
        loss = nn.functional.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 100 == 0:
            torch.save(
                {
                    "model": model.state_dict(),
                    "opt": opt.state_dict(),
                    "rng": torch.get_rng_state(),
                    "step": step,
                },
                CKPT + ".tmp",
            )
            os.replace(CKPT + ".tmp", CKPT)
            print("step", step, "loss", loss.item(), flush=True)
    torch.save(model.state_dict(), "state/model.pt")
    torch.save(opt.state_dict(), "state/opt.pt")


if __name__ == "__main__":
    main()
