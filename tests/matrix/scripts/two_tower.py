"""CLIP-like contrastive training of two towers with a learned temperature."""

import logging
import math
import os
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    seed: int = 11
    steps: int = 800
    batch: int = 48
    dim: int = 48
    lr: float = 2e-3
    warmup: int = 50
    out: str = "output/two_tower"


cfg = Config()
os.makedirs(cfg.out, exist_ok=True)
logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)
for handler in (logging.StreamHandler(), logging.FileHandler(f"{cfg.out}/train.log", mode="w")):
    handler.setFormatter(logging.Formatter("%(levelname)s | %(message)s"))
    logger.addHandler(handler)


class Tower(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, cfg.dim)
        )

    def forward(self, x):
        return F.normalize(self.net(x), dim=-1)


class TwoTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = Tower(40)
        self.item = Tower(56)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, q, i):
        return self.query(q), self.item(i), self.logit_scale.exp()


def forever(loader):
    while True:
        yield from loader


def recall_at(model, q, i, k=5):
    model.eval()
    with torch.inference_mode():
        a, b, _ = model(q, i)
        top = (a @ b.T).topk(k, dim=1).indices
        hit = (top == torch.arange(len(q))[:, None]).any(1).float().mean()
    model.train()
    return hit.item()


def main():
    torch.manual_seed(cfg.seed)
    rng = np.random.default_rng(cfg.seed)
    latent = rng.standard_normal((3000, 12)).astype(np.float32)
    q = latent @ rng.standard_normal((12, 40)).astype(np.float32)
    i = np.tanh(latent @ rng.standard_normal((12, 56)).astype(np.float32))
    q = torch.from_numpy(q + 0.3 * rng.standard_normal(q.shape).astype(np.float32))
    i = torch.from_numpy(i + 0.1 * rng.standard_normal(i.shape).astype(np.float32))
    data = TensorDataset(q[:2800], i[:2800])
    loader = DataLoader(data, batch_size=cfg.batch, shuffle=True, drop_last=True)
    model = TwoTower()
    opt = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=0.05)
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt,
        lambda s: min(1.0, s / cfg.warmup) * 0.5 * (1 + math.cos(math.pi * s / cfg.steps)),
    )
    logger.info("config %s", asdict(cfg))
    batches = forever(loader)
    recalls = []
    for step in range(1, cfg.steps + 1):
        bq, bi = next(batches)
        a, b, scale = model(bq, bi)
        logits = scale * a @ b.T
        labels = torch.arange(len(bq))
        loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        opt.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        sched.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 20 == 0:
            logger.info(
                "step %d loss %.5f norm %.5f scale %.4f", step, loss.item(), norm, scale.item()
            )
        if step % 100 == 0:
            recalls.append(recall_at(model, q[2800:], i[2800:]))
            logger.info("recall@5 %.4f", recalls[-1])
    save_file(model.state_dict(), f"{cfg.out}/model.safetensors")
    torch.save(opt.state_dict(), f"{cfg.out}/optimizer.bin")
    np.savetxt(f"{cfg.out}/recall.txt", np.array(recalls))


if __name__ == "__main__":
    main()
