"""A loop that saves and restores through `vaultlayer_checkpoint`, and may die at a step by its own wish."""

# ruff: noqa: NPY002, PTH119

import argparse
import hashlib
import os
import random
import time

import numpy as np
import torch
import vaultlayer_checkpoint as vl


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--die-at", type=int, default=0)
    parser.add_argument("--step-delay", type=float, default=0.0, metavar="SECONDS")
    given = parser.parse_args()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.Dropout(0.3), torch.nn.Linear(16, 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.7)
    seen = {"losses": []}
    step = vl.restore(model=model, optimizer=optimizer, scheduler=scheduler, seen=seen)
    print("starts after", step, flush=True)
    while step < given.steps:
        step += 1
        batch = torch.randn(16, 8) * random.random() + float(np.random.rand())
        loss = (model(batch).squeeze(1) - batch.sum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        seen["losses"].append(loss.item())
        if step % given.every == 0:
            path = vl.checkpoint(
                step=step,
                model=model,
                optimizer=optimizer,
                scheduler=scheduler,
                seen=seen,
                loss=loss,
            )
            print("saved", os.path.basename(path), flush=True)
        if step == given.die_at:
            os._exit(9)
        time.sleep(given.step_delay)
    digest = hashlib.sha256(repr(seen).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    print("digest", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main()
