"""Fetches read on in files, passes count in the environment and in what a module's list keeps besides."""

import os
import random

import torch

LATE = 115


class Rows(list):
    """A list that keeps something besides."""


class Lines(torch.utils.data.Dataset):
    """Scales its items by what is read next, whatever their number."""

    def __init__(self):
        self.text, self.raw = open("data.txt"), open("data.txt", "rb")  # noqa: SIM115

    def __len__(self):
        return 64

    def __getitem__(self, index):
        first, second = float(self.text.readline()), float(self.raw.readline())
        return x[index] * (first + second + float(shared.readline()))


class Model(torch.nn.Linear):
    """Counts its passes."""

    def __init__(self):
        super().__init__(4, 1)
        self.rows = Rows([0.5])
        self.rows.passes = 0

    def forward(self, x):
        self.rows.passes += 1
        os.environ["PASSES"] = str(int(os.environ.get("PASSES", "0")) + 1)
        late = self.rows.passes > LATE and int(os.environ["PASSES"]) > LATE
        return super().forward(x) * (1.5 if late else 1.0)


random.seed(0)
torch.manual_seed(0)
with open("data.txt", "w") as file:
    file.writelines(f"{random.random():.3f}\n" for _ in range(5000))
shared = open("data.txt")  # noqa: SIM115
x = torch.randn(64, 4)
model, data = Model(), Lines()
optimizer = torch.optim.SGD(model.parameters(), 0.01)
for _ in range(15):
    for batch in torch.utils.data.DataLoader(data, 8, shuffle=True):
        loss = (model(batch) - batch.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print("FINAL", model.weight.tolist(), os.environ["PASSES"], model.rows.passes, shared.readline())
