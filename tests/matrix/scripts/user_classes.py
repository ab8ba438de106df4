"""A config class, a trainer with hooks, batches that are objects, metrics in a defaultdict, an EMA class."""

import json
import logging
import sys
from collections import UserDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

Output = namedtuple("Output", "loss logits")


@dataclass
class Batch:
    x: torch.Tensor
    y: torch.Tensor

    def noisy(self, sigma):
        return Batch(self.x + sigma * torch.randn_like(self.x), self.y)


class Sample(UserDict):
    pass


class Pairs(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.x = torch.randn(n, 16, generator=g)
        self.y = (self.x[:, ::2].sum(1) > self.x[:, 1::2].sum(1)).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return Sample(x=self.x[i], y=self.y[i])


def collate(items):
    return Batch(torch.stack([i["x"] for i in items]), torch.stack([i["y"] for i in items]))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(16, 128), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(128, 128), nn.SELU()
        )
        self.head = nn.Linear(128, 2)

    def forward(self, batch: Batch) -> Output:
        logits = self.head(self.body(batch.x))
        return Output(nn.functional.cross_entropy(logits, batch.y), logits)


class EMA:
    def __init__(self, model, decay=0.98):
        self.decay = decay
        self.shadow = {n: p.detach().clone() for n, p in model.named_parameters()}

    def update(self, model):
        for n, p in model.named_parameters():
            self.shadow[n] = self.decay * self.shadow[n] + (1 - self.decay) * p.detach()


@dataclass
class Trainer:
    model: Net
    out: Path
    epochs: int = 14
    metrics: dict = field(default_factory=lambda: defaultdict(list))
    step: int = 0

    def __post_init__(self):
        self.opt = torch.optim.ASGD(self.model.parameters(), lr=0.02)
        self.ema = EMA(self.model)
        self.best = (float("inf"), None)
        self.norms = []
        self.model.head.register_full_backward_hook(
            lambda m, gi, go: self.norms.append(go[0].norm().item())
        )

    def fit(self, train, val):
        for epoch in range(self.epochs):
            for batch in train:
                out = self.model(batch.noisy(0.1))
                self.opt.zero_grad()
                out.loss.backward()
                self.opt.step()
                self.ema.update(self.model)
                self.step += 1
                self.metrics["loss"].append(out.loss.item())
            self.validate(val, epoch)

    @torch.no_grad()
    def validate(self, val, epoch):
        self.model.eval()
        outs = [self.model(b) for b in val]
        loss = torch.stack([o.loss for o in outs]).mean().item()
        self.model.train()
        self.metrics["val"].append(loss)
        if loss < self.best[0]:
            self.best = (loss, {k: v.clone() for k, v in self.ema.shadow.items()})
        logging.info(
            "epoch %d step %d val %.6f grad %.6f",
            epoch,
            self.step,
            loss,
            sum(self.norms[-40:]) / 40,
        )


def main():
    out = Path("exp/user")
    out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[
            logging.StreamHandler(sys.stdout),
            logging.FileHandler(out / "run.log", mode="w"),
        ],
    )
    torch.manual_seed(92)
    trainer = Trainer(Net(), out)
    trainer.fit(
        DataLoader(Pairs(1600, 1), batch_size=32, shuffle=True, collate_fn=collate),
        DataLoader(Pairs(200, 2), batch_size=50, collate_fn=collate),
    )
    torch.save(
        {"model": trainer.model.state_dict(), "ema": trainer.ema.shadow, "best": trainer.best[1]},
        out / "model.pt",
    )
    torch.save(trainer.opt.state_dict(), out / "optimizer.pt")
    (out / "metrics.json").write_text(json.dumps(trainer.metrics))


if __name__ == "__main__":
    main()
