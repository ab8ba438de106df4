"""What forward passes, optimizers and datasets change in themselves besides tensors, and use again."""

import collections
import json

import numpy as np
import torch
from torch import nn


class Range(nn.Linear):
    """A running range, as a tuple that each pass replaces."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.range = (0.0, 1.0)

    def forward(self, x):
        y = super().forward(x)
        low, high = self.range
        self.range = (low * 0.9 + 0.1 * y.min().item(), high * 0.9 + 0.1 * y.max().item())
        return y * (self.range[1] - self.range[0])


class Visited(nn.Linear):
    """A set that the first pass makes, and a plan of tuples that is used up."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.passes = 0
        self.seen = None
        self.plan = collections.deque([(1.0, 5), (0.5, 30), (0.25, 55), (0.2, 10_000)])

    def forward(self, x):
        self.passes += 1
        if self.seen is None:
            self.seen = set()
        y = super().forward(x)
        self.seen.add(int(y[0].argmax()))
        if self.passes > self.plan[0][1]:
            self.plan.popleft()
        return y * len(self.seen) * self.plan[0][0]


class History(nn.Linear):
    """An array that grows, one that the first pass makes, and a random stream that it makes."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.norms = np.zeros(1)
        self.mean = None
        self.stream = None

    def forward(self, x):
        if self.mean is None:
            self.mean = np.zeros(4, "f")
            self.stream = np.random.default_rng(3)
        y = super().forward(x)
        self.mean = self.mean * 0.9 + 0.1 * y.detach().mean(0).numpy()
        self.norms = np.append(self.norms, y.abs().mean().item())[-60:]
        shift = torch.from_numpy(self.mean) * float(self.stream.random())
        return (y - shift) / (1 + self.norms.mean())


class Steady(torch.optim.Optimizer):
    """Keeps a step count beside the parameters' states, and moves tuples."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.02, "betas": (0.5, 0.99)})
        self.state["t"] = 0
        self.norm = (0.0, 0)
        self.recent = collections.deque(maxlen=4)

    @torch.no_grad()
    def step(self):
        self.state["t"] += 1
        for group in self.param_groups:
            beta = group["betas"][0]
            group["betas"] = (min(0.95, beta + 0.01), group["betas"][1])
            for p in group["params"]:
                norm = p.grad.norm().item()
                self.norm = (self.norm[0] * 0.9 + 0.1 * norm, self.norm[1] + 1)
                self.recent.append((norm, p.dim()))
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p)
                state["m"].mul_(beta).add_(p.grad, alpha=1 - beta)
                scale = 1 + self.norm[0] + sum(norm for norm, _ in self.recent)
                p.sub_(state["m"], alpha=group["lr"] / (1 - 0.5 ** self.state["t"]) / scale)


class Noisy(torch.utils.data.Dataset):
    """Draws from a stream that the first item makes."""

    def __init__(self):
        self.stream = None
        self.x = torch.arange(160.0).view(40, 4) / 160

    def __len__(self):
        return 40

    def __getitem__(self, i):
        if self.stream is None:
            self.stream = np.random.RandomState(7)
        return self.x[i] + float(self.stream.rand())


class Collate:
    """Counts its calls, and scales by them."""

    def __init__(self):
        self.calls = 0

    def __call__(self, items):
        self.calls += 1
        return torch.stack(items) * (1 + self.calls / 1000)


class Balanced(torch.utils.data.Sampler):
    """Uses up a shuffled list of each class in turn, and shuffles it again."""

    def __init__(self):
        self.places = {kind: np.arange(kind, 40, 2) for kind in range(2)}
        self.used = dict.fromkeys(range(2), 0)

    def __len__(self):
        return 4

    def __iter__(self):
        for _ in range(4):
            batch = []
            for kind, places in self.places.items():
                if self.used[kind] + 5 > 16:
                    np.random.shuffle(places)
                    self.used[kind] = 0
                batch += places[self.used[kind] : self.used[kind] + 5].tolist()
                self.used[kind] += 5
            yield batch


np.random.seed(0)
torch.manual_seed(0)
models = [Range(4, 4), Visited(4, 4), History(4, 4)]
optimizers = [Steady(m.parameters()) for m in models]
losses = []
collate = Collate()
loader = torch.utils.data.DataLoader(Noisy(), batch_sampler=Balanced(), collate_fn=collate)
for _epoch in range(25):
    for x in loader:
        for model, optimizer in zip(models, optimizers):
            loss = (model(x) - x.flip(1)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
with open("losses.json", "w") as file:
    json.dump(losses, file)
torch.save([m.state_dict() for m in models], "weights.pt")
print("FINAL", losses[-1], [o.norm for o in optimizers])
