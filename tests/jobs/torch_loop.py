"""An ordinary PyTorch loop that saves into one file, in place, and reads it again when it starts."""

# ruff: noqa: PTH110, PTH123

import argparse
import hashlib
import os
import time

import torch


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--save-steps", type=int, default=5)
    parser.add_argument("--step-delay", type=float, default=0.0, metavar="SECONDS")
    given = parser.parse_args()
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(64, 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    start = 0
    if os.path.exists("ckpt.pt"):
        saved = torch.load("ckpt.pt")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        start = saved["step"]
        print("continues at", start, flush=True)
    for step in range(start + 1, given.steps + 1):
        batch = torch.randn(32, 16)
        loss = (model(batch).squeeze(1) - batch.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with open("steps.csv", "a") as file:
            file.write(f"{step},{loss.item()!r}\n")
        if step % given.save_steps == 0:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "rng": torch.get_rng_state(),
                "step": step,
            }
            torch.save(state, "ckpt.pt")
        time.sleep(given.step_delay)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    print("digest", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main()
