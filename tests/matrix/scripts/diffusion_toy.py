"""DDPM on a swiss roll: deep-copied EMA model, samples drawn every so often."""

import argparse
import copy
import json
import math
import os

import torch
import torch.nn as nn
from tqdm.auto import tqdm

ap = argparse.ArgumentParser()
ap.add_argument("--steps", type=int, default=900)
ap.add_argument("--T", type=int, default=50)
ap.add_argument("--sample_every", type=int, default=150)
ap.add_argument("--outdir", type=str, default="ddpm")
cfg = ap.parse_args()

torch.manual_seed(0)
betas = torch.linspace(1e-4, 0.05, cfg.T)
alphas = 1.0 - betas
abar = torch.cumprod(alphas, 0)


def swiss_roll(n):
    t = 1.5 * math.pi * (1 + 2 * torch.rand(n))
    x = torch.stack([t * torch.cos(t), t * torch.sin(t)], 1) / 10
    return x + 0.02 * torch.randn_like(x)


class TimeEmbedding(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.register_buffer(
            "freqs",
            torch.exp(-math.log(1000) * torch.arange(dim // 2) / (dim // 2)),
            persistent=False,
        )

    def forward(self, t):
        a = t[:, None].float() * self.freqs
        return torch.cat([a.sin(), a.cos()], 1)


class Denoiser(nn.Module):
    def __init__(self, width=128):
        super().__init__()
        self.temb = TimeEmbedding(32)
        self.inp = nn.Linear(2 + 32, width)
        self.mid = nn.ModuleList(
            [nn.Sequential(nn.SiLU(), nn.Linear(width, width)) for _ in range(3)]
        )
        self.out = nn.Linear(width, 2)

    def forward(self, x, t):
        h = self.inp(torch.cat([x, self.temb(t)], 1))
        for m in self.mid:
            h = h + m(h)
        return self.out(h)


@torch.no_grad()
def sample(net, n):
    x = torch.randn(n, 2)
    for i in reversed(range(cfg.T)):
        t = torch.full((n,), i)
        eps = net(x, t)
        x = (x - betas[i] / (1 - abar[i]).sqrt() * eps) / alphas[i].sqrt()
        if i > 0:
            x = x + betas[i].sqrt() * torch.randn_like(x)
    return x


def main():
    os.makedirs(cfg.outdir, exist_ok=True)
    net = Denoiser()
    ema = copy.deepcopy(net).eval().requires_grad_(False)
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, cfg.steps)
    hist = []
    pbar = tqdm(total=cfg.steps, mininterval=2)
    for step in range(cfg.steps):
        x0 = swiss_roll(128)
        t = torch.randint(0, cfg.T, (128,))
        noise = torch.randn_like(x0)
        xt = abar[t].sqrt()[:, None] * x0 + (1 - abar[t]).sqrt()[:, None] * noise
        loss = (net(xt, t) - noise).pow(2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        with torch.no_grad():
            for pe, p in zip(ema.parameters(), net.parameters()):
                pe.lerp_(p, 1 - 0.995)
        hist.append(loss.item())
        pbar.update(1)
        pbar.set_description(f"loss {sum(hist[-50:]) / len(hist[-50:]):.4f}")
        if (step + 1) % cfg.sample_every == 0:
            s = sample(ema, 64)
            print(f"\n[{step + 1}] sample spread {s.std().item():.4f}")
            torch.save(s, f"{cfg.outdir}/samples_{step + 1:05d}.pt")
    pbar.close()
    torch.save(
        {
            "net": net.state_dict(),
            "ema": ema.state_dict(),
            "opt": opt.state_dict(),
            "sched": sched.state_dict(),
        },
        f"{cfg.outdir}/model.pt",
    )
    with open(f"{cfg.outdir}/loss.json", "w") as f:
        json.dump(hist, f)


main()
