"""Trains a model whose layers are in a module beside the script, and in a library."""

import importlib
import os
import sys

import torch

sys.path[:0] = os.environ["BESIDE"].split(":")

layers = importlib.import_module("layers")
scaling = importlib.import_module("scaling")

torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(4, 4), layers.Layer(), scaling.Scaled())
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(60):
    loss = model(torch.randn(8, 4)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
torch.save(model.state_dict(), "model.pt")
print("FINAL", model[0].weight.sum().item())
