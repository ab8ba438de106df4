"""A loop with distributed checkpoints that looks for its newest `step-N` by itself, as torchtitan does."""

# ruff: noqa: PTH112, PTH208

import hashlib
import os
import sys
import time
import warnings

import torch
import torch.distributed.checkpoint as dcp

warnings.filterwarnings("ignore")
STEPS, EVERY = 30, 4


def newest():
    steps = [int(name[5:]) for name in os.listdir("ckpt")] if os.path.isdir("ckpt") else []
    return max(steps, default=0)


def main():
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.Dropout(0.3), torch.nn.Linear(16, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    step = newest()
    if step:
        state = {"model": model.state_dict(), "rng": torch.get_rng_state()}
        dcp.load(state, checkpoint_id=f"ckpt/step-{step}")
        model.load_state_dict(state["model"])
        torch.set_rng_state(state["rng"])
    print("starts after", step, flush=True)
    while step < STEPS:
        step += 1
        batch = torch.randn(16, 8)
        loss = (model(batch).squeeze(1) - batch.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % EVERY == 0:
            state = {"model": model.state_dict(), "rng": torch.get_rng_state()}
            dcp.save(state, checkpoint_id=f"ckpt/step-{step}")
        time.sleep(float(sys.argv[1]))
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    print("digest", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main()
