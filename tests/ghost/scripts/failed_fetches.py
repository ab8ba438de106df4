"""Samples that cannot be read are left out, and each is an error that the loop catches."""

import sys

import torch


class Worn(torch.utils.data.Dataset):
    """Has samples that cannot be read."""

    read = 0

    def __len__(self):
        return 120

    def __getitem__(self, index):
        self.read += 1
        if index % 31 == 7:
            raise ValueError(f"sample {index} cannot be read")
        return x[index]


class Gathering(Worn):
    """Keeps what it has read, so that its replay reads it again."""

    def __init__(self):
        self.rows = []

    def __getitem__(self, index):
        row = super().__getitem__(index)
        self.rows.append(row)
        return row


def batches(loader):
    """Give the batches that can be read."""
    iterator = iter(loader)
    while True:
        try:
            yield next(iterator)
        except StopIteration:
            return
        except ValueError:
            failed.append(len(losses))


torch.manual_seed(0)
x = torch.randn(120, 4)
data = Gathering() if sys.argv[1] == "gathering" else Worn()
workers = 1 if sys.argv[1] == "workers" else 0
model, losses, failed = torch.nn.Linear(4, 1), [], []
optimizer = torch.optim.SGD(model.parameters(), 0.05)
for _ in range(9):
    for batch in batches(torch.utils.data.DataLoader(data, 8, shuffle=True, num_workers=workers)):
        loss = (model(batch) - batch.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
print("FINAL", model.weight.tolist(), losses[-1], failed, data.read, len(getattr(data, "rows", ())))
