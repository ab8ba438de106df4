"""DCGAN-flavoured toy GAN with an EMA generator kept as a plain dict, and an image history pool."""

import argparse
import os
import random

import torch
import torch.nn as nn
from tqdm import tqdm

p = argparse.ArgumentParser()
p.add_argument("--iters", type=int, default=700)
p.add_argument("--nz", type=int, default=16)
p.add_argument("--ema", type=float, default=0.99)
p.add_argument("--out", default="gan_out")
opt = p.parse_args()

torch.manual_seed(7)
random.seed(7)
os.makedirs(opt.out, exist_ok=True)

G = nn.Sequential(
    nn.Linear(opt.nz, 128),
    nn.BatchNorm1d(128),
    nn.ReLU(),
    nn.Linear(128, 128),
    nn.ReLU(),
    nn.Linear(128, 64),
    nn.Tanh(),
)
D = nn.Sequential(
    nn.Linear(64, 128),
    nn.LeakyReLU(0.2),
    nn.Dropout(0.2),
    nn.Linear(128, 128),
    nn.LeakyReLU(0.2),
    nn.Linear(128, 1),
)
optG = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
optD = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
criterion = nn.BCEWithLogitsLoss()
ema = {k: v.detach().clone() for k, v in G.state_dict().items()}
fixed = torch.randn(16, opt.nz)
pool = []
g_losses, d_losses = [], []
log = open(os.path.join(opt.out, "losses.txt"), "w")


def real_batch(n):
    phase = torch.rand(n, 1) * 6.28
    freq = torch.randint(1, 4, (n, 1)).float()
    grid = torch.linspace(0, 6.28, 64)[None]
    return torch.sin(freq * grid + phase) * 0.8 + 0.05 * torch.randn(n, 64)


def from_pool(images):
    out = []
    for img in images:
        if len(pool) < 50:
            pool.append(img)
            out.append(img)
        elif random.random() > 0.5:
            i = random.randrange(len(pool))
            out.append(pool[i].clone())
            pool[i] = img
        else:
            out.append(img)
    return torch.stack(out)


bar = tqdm(range(opt.iters), mininterval=5)
for it in bar:
    real = real_batch(64)
    fake = G(torch.randn(64, opt.nz))
    optD.zero_grad()
    loss_real = criterion(D(real), torch.full((64, 1), 0.9))
    loss_fake = criterion(D(from_pool(fake.detach())), torch.zeros(64, 1))
    lossD = loss_real + loss_fake
    lossD.backward()
    optD.step()

    optG.zero_grad()
    lossG = criterion(D(fake), torch.ones(64, 1))
    lossG.backward()
    optG.step()
    with torch.no_grad():
        for k, v in G.state_dict().items():
            if v.dtype.is_floating_point:
                ema[k].mul_(opt.ema).add_(v, alpha=1 - opt.ema)
            else:
                ema[k].copy_(v)
    g_losses.append(lossG.item())
    d_losses.append(lossD.item())
    bar.set_postfix(g=f"{g_losses[-1]:.3f}", d=f"{d_losses[-1]:.3f}")
    log.write(f"{it} {g_losses[-1]!r} {d_losses[-1]!r}\n")
    if it % 100 == 99:
        G.eval()
        with torch.no_grad():
            torch.save(G(fixed), os.path.join(opt.out, f"samples_{it + 1}.pt"))
        G.train()
log.close()
torch.save(
    {
        "G": G.state_dict(),
        "D": D.state_dict(),
        "ema": ema,
        "optG": optG.state_dict(),
        "optD": optD.state_dict(),
        "pool": torch.stack(pool),
    },
    os.path.join(opt.out, "gan.pt"),
)
