"""Imports a torch that is older than what can be recorded: a stand-in with what the hooks look at first."""

import os
import sys

os.makedirs("torch", exist_ok=True)
with open("torch/__init__.py", "w") as file:
    file.write("from torch import serialization\nfrom torch.serialization import save, load\n")
    file.write("__version__ = '2.0.1'\n")
with open("torch/serialization.py", "w") as file:
    file.write("def save(obj, f): ...\ndef load(f): ...\n")
sys.path.insert(0, os.getcwd())

import torch  # noqa: E402

print("FINAL", torch.__version__)
