"""Fetches count in an iterator of the dataset, and the count matters late."""

import itertools
import sys

import torch

LATE = 55 * 8


def scales():
    """Give numbers that grow, always from one place."""
    count = 0
    while True:
        yield count
        count += 1


def primed():
    """Give such numbers from the second on."""
    made = scales()
    next(made)
    return made


def lines():
    """Give the lines of a file, which does not tell where it is while they are taken."""
    with open("data.txt", "w") as file:
        file.writelines(f"{n}\n" for n in range(1000))
    return open("data.txt")


KINDS = {"count": itertools.count, "generator": primed, "lines": lines}


class Counted(torch.utils.data.Dataset):
    """Counts what it gives."""

    def __init__(self):
        self.count = KINDS[sys.argv[1]]()

    def __len__(self):
        return 64

    def __getitem__(self, index):
        return x[index] * (1.5 if int(next(self.count)) > LATE else 1.0)


torch.manual_seed(0)
x = torch.randn(64, 4)
model, data = torch.nn.Linear(4, 1), Counted()
optimizer = torch.optim.SGD(model.parameters(), 0.05)
for _ in range(8):
    for batch in torch.utils.data.DataLoader(data, 8, shuffle=True):
        loss = (model(batch) - batch.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print("FINAL", model.weight.tolist())
