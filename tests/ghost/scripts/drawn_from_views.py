"""A sampler that is under way holds arrays of tensors that nobody else holds."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class Rated(Dataset):
    """Items with a rating each, of which new ones are made after each epoch."""

    def __init__(self) -> None:
        self.x = torch.randn(60, 4)
        self.ratings = torch.ones(60)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.x[index], index


class ByRating(Sampler):
    def __init__(self, data: Rated) -> None:
        self.data = data

    def __iter__(self) -> Iterator[list[int]]:
        for part in range(12):
            items = list(range(part % 3, 60, 3))
            chances = self.data.ratings[items].numpy()
            yield np.random.choice(items, 6, False, chances / chances.sum()).tolist()

    def __len__(self) -> int:
        return 12


np.random.seed(0)
torch.manual_seed(0)
data = Rated()
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
losses = []
for _ in range(8):
    ratings = data.ratings.clone()
    for x, index in DataLoader(data, batch_sampler=ByRating(data)):
        loss = (model(x).squeeze(1) - x.sum(1)).square()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        ratings[index] = loss.detach() + 0.1
        losses.append(loss.mean().item())
    data.ratings = ratings
torch.save([model.state_dict(), data.ratings, losses], "end.pt")
print("FINAL", losses[-1], data.ratings.sum().item())
