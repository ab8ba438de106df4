"""Physics-informed network: derivatives of the output by the inputs, Adam first, then LBFGS."""

import os

import numpy as np
import torch
import torch.nn as nn

torch.manual_seed(13)
net = nn.Sequential(nn.Linear(2, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))


def residual(xt):
    xt = xt.clone().requires_grad_(True)
    u = net(xt)
    (du,) = torch.autograd.grad(u.sum(), xt, create_graph=True)
    (dux,) = torch.autograd.grad(du[:, 0].sum(), xt, create_graph=True)
    return du[:, 1] + u[:, 0] * du[:, 0] - 0.03 * dux[:, 0]


def loss_terms(n):
    inside = torch.rand(n, 2) * torch.tensor([2.0, 1.0]) - torch.tensor([1.0, 0.0])
    x0 = torch.rand(n // 4, 1) * 2 - 1
    start = net(torch.cat([x0, torch.zeros_like(x0)], 1)) + torch.sin(torch.pi * x0)
    t = torch.rand(n // 4, 1)
    walls = torch.cat([net(torch.cat([torch.full_like(t, s), t], 1)) for s in (-1.0, 1.0)])
    return residual(inside).pow(2).mean(), start.pow(2).mean(), walls.pow(2).mean()


os.makedirs("pinn", exist_ok=True)
f = open("pinn/loss.csv", "w")
adam = torch.optim.Adam(net.parameters(), lr=3e-3)
for it in range(500):
    adam.zero_grad()
    terms = loss_terms(128)
    loss = sum(terms)
    loss.backward()
    adam.step()
    if it % 10 == 0:
        f.write("adam,%d,%s\n" % (it, ",".join(repr(t.item()) for t in terms)))
        f.flush()
print("adam done", loss.item())

lbfgs = torch.optim.LBFGS(
    net.parameters(), max_iter=5, history_size=20, line_search_fn="strong_wolfe"
)
fixed = torch.rand(256, 2) * torch.tensor([2.0, 1.0]) - torch.tensor([1.0, 0.0])
x0 = torch.linspace(-1, 1, 64)[:, None]
for it in range(80):

    def closure():
        lbfgs.zero_grad()
        start = net(torch.cat([x0, torch.zeros_like(x0)], 1)) + torch.sin(torch.pi * x0)
        loss = residual(fixed).pow(2).mean() + start.pow(2).mean()
        loss.backward()
        return loss

    loss = lbfgs.step(closure)
    f.write(f"lbfgs,{it},{float(loss)!r}\n")
    f.flush()
f.close()
with torch.no_grad():
    grid = net(torch.cartesian_prod(torch.linspace(-1, 1, 21), torch.linspace(0, 1, 11)))
np.save("pinn/solution.npy", grid.numpy())
torch.save(net.state_dict(), "pinn/net.pt")
torch.save({"adam": adam.state_dict(), "lbfgs": lbfgs.state_dict()}, "pinn/opt.pt")
