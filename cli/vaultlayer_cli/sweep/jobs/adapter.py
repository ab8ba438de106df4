"""A fine-tune in the manner of QLoRA: a frozen base in 8 bits, a low-rank adapter that is trained."""

import argparse
import hashlib
import json
import time

import torch
from torch import nn


class Frozen8Bit(nn.Module):
    """A linear layer whose weights lie in 8 bits, with a scale for each block of 64, and never change."""

    def __init__(self, inputs, outputs, generator):
        super().__init__()
        weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
        blocks = weight.reshape(-1, 64)
        scale = blocks.abs().amax(1, keepdim=True) / 127
        self.register_buffer("stored", torch.round(blocks / scale).to(torch.int8))
        self.register_buffer("scale", scale)
        self.shape = weight.shape

    def forward(self, x):
        weight = (self.stored.to(x.dtype) * self.scale.to(x.dtype)).reshape(self.shape)
        return nn.functional.linear(x, weight)


class Adapted(nn.Module):
    """The frozen layer and what is trained beside it."""

    def __init__(self, inputs, outputs, rank, generator):
        super().__init__()
        self.base = Frozen8Bit(inputs, outputs, generator)
        self.down = nn.Parameter(torch.randn(rank, inputs, generator=generator) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x):
        return self.base(x) + (x @ self.down.T) @ self.up.T


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(
        Adapted(128, 256, 8, generator), nn.GELU(), Adapted(256, 128, 8, generator)
    ).to(device)
    task = torch.randn(128, 128, generator=generator).to(device) / 16
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    began = time.monotonic()
    losses = []
    for step in range(1, options.steps + 1):
        x = torch.randn(64, 128, generator=generator).to(device)
        loss = nn.functional.mse_loss(model(x), x @ task)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 25 == 0:
            print(f"step {step}/{options.steps} loss {losses[-1]:.4f}", flush=True)
    adapter = {name: p.detach().cpu() for name, p in model.named_parameters()}
    torch.save(adapter, "adapter.pt")
    digest = hashlib.sha256(b"".join(p.numpy().tobytes() for p in adapter.values())).hexdigest()
    said = {
        "digest": digest,
        "first": 0,
        "train_s": time.monotonic() - began,
        "fell": losses[-1] < 0.8 * losses[0],
        "device": device,
    }
    print("SMOKE", json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
