"""Functions of torch and of the standard library that are pickled, alone and in a model that is saved."""

import functools
import io
import os
import pickle
import random
import secrets
import time
import uuid

import numpy as np
import torch
from torch.nn import functional

FUNCTIONS = [
    torch.where,
    torch.median,
    torch.multinomial,
    torch.equal,
    torch.linalg.norm,
    torch.autograd.grad,
    torch.nn.utils.clip_grad_norm_,
    torch.Tensor.item,
    torch.Tensor.__getitem__,
    torch.nn.Module.__call__,
    functional.cross_entropy,
    functional.one_hot,
    np.random.default_rng,
    time.time,
    time.perf_counter,
    os.urandom,
    random.seed,
    uuid.uuid4,
    secrets.token_hex,
]


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
        self.pick, self.norm, self.clock = torch.where, torch.linalg.norm, time.perf_counter
        self.loss = functools.partial(functional.cross_entropy, label_smoothing=0.1)

    def forward(self, x, y):
        out = self.layer(x)
        return self.loss(self.pick(out > 0, out, 0.1 * out), y) + 1e-3 * self.norm(out)


torch.manual_seed(0)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), 0.1)
for _ in range(40):
    optimizer.zero_grad()
    loss = net(torch.randn(8, 4), torch.randint(0, 2, (8,)))
    loss.backward()
    optimizer.step()
again = [pickle.loads(pickle.dumps(function)) is function for function in FUNCTIONS]
saved = io.BytesIO()
torch.save(net, saved)
saved.seek(0)
read = torch.load(saved, weights_only=False)
same = read.pick is torch.where and torch.equal(read.layer.weight, net.layer.weight)
torch.save(net.state_dict(), "final.pt")
print("FINAL", again, same, loss.item())
