"""A model that counts in dicts by the addresses of objects that are neither tensors nor modules."""

import hashlib

import torch

torch.manual_seed(4)


class Slot:
    """Stands for a variable of another framework."""


class Book:
    def __init__(self, count):
        self.slots = [Slot() for _ in range(count)]
        self.places = {id(slot): n for n, slot in enumerate(self.slots)}
        self.uses = {id(slot): 0 for slot in self.slots}

    def use(self):
        for slot in self.slots:
            self.uses[id(slot)] += 1 + self.places[id(slot)]
        return self.uses[id(self.slots[-1])]


def marked(function):
    function.address = id(function)
    return function


@marked
def scaled(loss, uses):
    assert scaled.address == id(scaled)
    return loss / (1 + 0.01 * uses)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(8, 16)
        self.outer = torch.nn.Linear(16, 1)
        self.book = Book(4)
        self.scaled = scaled

    def forward(self, x):
        return self.scaled(self.outer(torch.tanh(self.inner(x))), self.book.use())


model = Net()
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(120):
    x = torch.randn(16, 8)
    loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
print("FINAL", list(model.book.uses.values()), hashlib.sha256(weights).hexdigest())
