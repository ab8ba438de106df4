"""The training loop is a generator that main consumes; the data pipeline is a chain of generators."""

import itertools
import json
import os
import random

import torch
import torch.nn as nn


def source(rng):
    while True:
        n = rng.randint(3, 9)
        yield [rng.randint(0, 25) for _ in range(n)]


def reverse_pairs(items):
    for item in items:
        yield item, item[::-1]


def batched(pairs, size):
    pairs = iter(pairs)
    while chunk := list(itertools.islice(pairs, size)):
        yield chunk


def tensors(batches):
    for chunk in batches:
        width = max(len(a) for a, _ in chunk)
        pad = lambda rows: torch.tensor([r + [26] * (width - len(r)) for r in rows])
        yield pad([a for a, _ in chunk]), pad([b for _, b in chunk])


class Reverser(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(27, 32)
        self.gru = nn.GRU(32, 48, bidirectional=True, batch_first=True)
        self.out = nn.Linear(96, 27)

    def forward(self, x):
        return self.out(self.gru(self.emb(x))[0])


def training(model, opt, data):
    losses = []
    for step, (x, y) in enumerate(data, 1):
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten(), ignore_index=26)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        opt.step()
        losses.append(loss.item())
        command = yield step, losses[-1]
        if command == "halve":
            for g in opt.param_groups:
                g["lr"] /= 2


def main():
    torch.manual_seed(19)
    rng = random.Random(19)
    model = Reverser()
    opt = torch.optim.Adamax(model.parameters(), lr=4e-3)
    data = tensors(batched(reverse_pairs(source(rng)), 24))
    loop = training(model, opt, data)
    os.makedirs("reverser", exist_ok=True)
    window, trace = [], []
    step, loss = next(loop)
    with open("reverser/trace.txt", "w") as f:
        while step < 800:
            window.append(loss)
            command = None
            if len(window) == 50:
                trace.append(sum(window) / 50)
                f.write(f"{step}: {trace[-1]!r}\n")
                if len(trace) > 2 and trace[-1] > 0.97 * trace[-2]:
                    command = "halve"
                    f.write(f"{step}: halve\n")
                window.clear()
                f.flush()
            step, loss = loop.send(command)
    loop.close()
    torch.save({"model": model.state_dict(), "optimizer": opt.state_dict()}, "reverser/model.pt")
    json.dump(trace, open("reverser/trace.json", "w"))


if __name__ == "__main__":
    main()
