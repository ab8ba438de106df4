"""Trainings one after the other: models and optimizers of the last one are gone, or garbage that waits."""

import json

import torch
from torch import nn


class Trainer:
    """Holds on to itself, so that only the garbage collector frees it."""

    def __init__(self, seed):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-2)
        self.callbacks = [self.note]
        self.losses = []

    def note(self, loss):
        self.losses.append(loss)

    def fit(self, steps):
        for _ in range(steps):
            x = torch.randn(8, 4)
            loss = (self.model(x) - x.flip(1)).pow(2).mean()
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            for callback in self.callbacks:
                callback(loss.item())
        return self.losses, self.model.state_dict()


def tuned(steps):
    """Train, then freeze, and train new parts of the same model with another optimizer."""
    torch.manual_seed(9)
    model = nn.ModuleDict({"a": nn.Linear(4, 6), "b": nn.Linear(6, 4)})
    whole = nn.Sequential(model["a"], nn.Tanh(), model["b"])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for phase in range(2):
        for _ in range(steps):
            x = torch.randn(8, 4)
            loss = (whole(x) - x.flip(1)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if not phase:
            model.requires_grad_(False)
            model["b"] = whole[2] = nn.Linear(6, 4)
            optimizer = torch.optim.AdamW(model["b"].parameters(), 1e-2)
    return model.state_dict()


results = [tuned(30), *(Trainer(seed).fit(30) for seed in range(4))]
with open("losses.json", "w") as file:
    json.dump([losses for losses, _ in results[1:]], file)
torch.save(results, "out.pt")
print("FINAL", results[-1][0][-1])
