"""WGAN with gradient penalty: five critic steps for every generator step, spectral norm in the generator."""

import argparse
import os

import torch
import torch.nn as nn
from torch.nn.utils.parametrizations import spectral_norm

parser = argparse.ArgumentParser()
parser.add_argument("--n_iters", type=int, default=260)
parser.add_argument("--n_critic", type=int, default=5)
parser.add_argument("--lambda_gp", type=float, default=10)
parser.add_argument("--clip_value", type=float, default=0.01)
opt = parser.parse_args()
print(opt)
torch.manual_seed(64)

generator = nn.Sequential(
    spectral_norm(nn.Linear(8, 64)), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
)
critic = nn.Sequential(
    nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)
)
optimizer_G = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9))
optimizer_D = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))


def ring(n):
    k = torch.randint(0, 8, (n,)) * (6.2831853 / 8)
    return torch.stack([k.cos(), k.sin()], 1) * 2 + 0.05 * torch.randn(n, 2)


def gradient_penalty(real, fake):
    alpha = torch.rand(real.size(0), 1)
    mid = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    out = critic(mid)
    grads = torch.autograd.grad(
        out, mid, torch.ones_like(out), create_graph=True, retain_graph=True
    )[0]
    return ((grads.norm(2, dim=1) - 1) ** 2).mean()


os.makedirs("wgan", exist_ok=True)
batches_done = 0
with open("wgan/log.txt", "w") as log:
    for it in range(opt.n_iters):
        for _ in range(opt.n_critic):
            optimizer_D.zero_grad()
            real = ring(96)
            fake = generator(torch.randn(96, 8)).detach()
            gp = gradient_penalty(real, fake)
            d_loss = -critic(real).mean() + critic(fake).mean() + opt.lambda_gp * gp
            d_loss.backward()
            optimizer_D.step()
        optimizer_G.zero_grad()
        gen = generator(torch.randn(96, 8))
        g_loss = -critic(gen).mean()
        g_loss.backward()
        optimizer_G.step()
        batches_done += opt.n_critic
        print(
            f"[Iter {it}/{opt.n_iters}] [D loss: {d_loss.item():f}] [G loss: {g_loss.item():f}] [gp: {gp.item():f}]",
            file=log,
        )
        if it % 20 == 0:
            log.flush()
            print("iteration", it, "batches", batches_done)
torch.save(generator.state_dict(), "wgan/generator.pth")
torch.save(critic.state_dict(), "wgan/critic.pth")
torch.save({"G": optimizer_G.state_dict(), "D": optimizer_D.state_dict()}, "wgan/optimizers.pth")
