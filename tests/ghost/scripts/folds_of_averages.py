"""Trains anew for each fold, with averages of weights whose classes keep the modules that they copy."""

import gc

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

FOLDS, STEPS, SIZE = 3, 40, 16


class Fold(TensorDataset):
    """What one fold trains on; large in real life."""


def train(fold: int) -> AveragedModel:
    torch.manual_seed(fold)
    model = nn.Sequential(weight_norm(nn.Linear(6, 8)), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    average = AveragedModel(model)
    for (x,) in DataLoader(Fold(torch.randn(STEPS * SIZE, 6)), SIZE, shuffle=True):
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
    torch.save({"average": average.state_dict(), "loss": loss}, f"fold_{fold}.pt")
    return average


def alive(kind: type) -> int:
    """Give how many instances there still are."""
    gc.collect()
    return sum(type(one).__name__ == kind.__name__ for one in gc.get_objects())


left = []
for fold in range(FOLDS):
    average = train(fold)
    left.append((alive(Fold), alive(type(average.module[0]))))
print("FINAL", average.module[2].weight.sum().item(), left)
