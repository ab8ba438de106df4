"""Soft actor-critic in small: actor, two critics, their targets, a learned temperature: three optimizers."""

import csv
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SEED, STEPS, BATCH = 77, 700, 48
torch.manual_seed(SEED)


class Pendulum:
    def __init__(self):
        self.rng = np.random.default_rng(SEED)

    def reset(self):
        self.th, self.om, self.t = self.rng.uniform(-np.pi, np.pi), self.rng.uniform(-1, 1), 0
        return self._obs()

    def _obs(self):
        return np.array([np.cos(self.th), np.sin(self.th), self.om], dtype=np.float32)

    def step(self, u):
        u = float(np.clip(u, -2, 2))
        cost = ((self.th + np.pi) % (2 * np.pi) - np.pi) ** 2 + 0.1 * self.om**2 + 0.001 * u**2
        self.om = np.clip(self.om + (15 * np.sin(self.th) + 3 * u) * 0.05, -8, 8)
        self.th += self.om * 0.05
        self.t += 1
        return self._obs(), -cost, self.t >= 100


class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.mu, self.log_std = nn.Linear(64, 1), nn.Linear(64, 1)

    def forward(self, obs):
        h = self.body(obs)
        dist = torch.distributions.Normal(self.mu(h), self.log_std(h).clamp(-4, 1).exp())
        raw = dist.rsample()
        logp = dist.log_prob(raw) - 2 * (np.log(2.0) - raw - F.softplus(-2 * raw))
        return 2 * torch.tanh(raw), logp


def critic():
    return nn.Sequential(
        nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )


class Buffer:
    def __init__(self, size):
        self.obs, self.next = np.zeros((size, 3), np.float32), np.zeros((size, 3), np.float32)
        self.act, self.rew = np.zeros((size, 1), np.float32), np.zeros((size, 1), np.float32)
        self.n, self.size = 0, size

    def add(self, o, a, r, o2):
        i = self.n % self.size
        self.obs[i], self.act[i], self.rew[i], self.next[i] = o, a, r, o2
        self.n += 1

    def sample(self, rng):
        i = rng.integers(0, min(self.n, self.size), BATCH)
        return [torch.as_tensor(a[i]) for a in (self.obs, self.act, self.rew, self.next)]


actor, q1, q2, t1, t2 = Actor(), critic(), critic(), critic(), critic()
t1.load_state_dict(q1.state_dict())
t2.load_state_dict(q2.state_dict())
log_alpha = torch.zeros(1, requires_grad=True)
opt_actor = torch.optim.Adam(actor.parameters(), lr=1e-3)
opt_critic = torch.optim.Adam([*q1.parameters(), *q2.parameters()], lr=1e-3)
opt_alpha = torch.optim.Adam([log_alpha], lr=1e-3)
env, buffer, rng = Pendulum(), Buffer(2000), np.random.default_rng(SEED + 1)
os.makedirs("sac", exist_ok=True)
out = csv.writer(open("sac/progress.csv", "w", buffering=1))
obs, ret = env.reset(), 0.0
for step in range(STEPS):
    with torch.no_grad():
        a = actor(torch.from_numpy(obs)[None])[0].item() if step > 60 else rng.uniform(-2, 2)
    nxt, r, done = env.step(a)
    buffer.add(obs, a, r, nxt)
    obs, ret = nxt, ret + r
    if done:
        out.writerow([step, ret])
        obs, ret = env.reset(), 0.0
    if step < 60:
        continue
    o, u, rew, o2 = buffer.sample(rng)
    alpha = log_alpha.exp().detach()
    with torch.no_grad():
        u2, logp2 = actor(o2)
        x2 = torch.cat([o2, u2], 1)
        target = rew + 0.98 * (torch.min(t1(x2), t2(x2)) - alpha * logp2)
    x = torch.cat([o, u], 1)
    loss_q = F.mse_loss(q1(x), target) + F.mse_loss(q2(x), target)
    opt_critic.zero_grad()
    loss_q.backward()
    opt_critic.step()
    if step % 2 == 0:
        new, logp = actor(o)
        xn = torch.cat([o, new], 1)
        loss_pi = (alpha * logp - torch.min(q1(xn), q2(xn))).mean()
        opt_actor.zero_grad()
        loss_pi.backward()
        opt_actor.step()
        loss_alpha = -(log_alpha * (logp.detach() - 1.0)).mean()
        opt_alpha.zero_grad()
        loss_alpha.backward()
        opt_alpha.step()
    with torch.no_grad():
        for net, tgt in ((q1, t1), (q2, t2)):
            for p, pt in zip(net.parameters(), tgt.parameters()):
                pt.mul_(0.99).add_(p, alpha=0.01)
    if step % 50 == 0:
        out.writerow([step, loss_q.item(), alpha.item()])
        print("step", step, "alpha", alpha.item())
torch.save(
    {
        "actor": actor.state_dict(),
        "q1": q1.state_dict(),
        "q2": q2.state_dict(),
        "t1": t1.state_dict(),
        "t2": t2.state_dict(),
        "log_alpha": log_alpha,
    },
    "sac/models.pt",
)
torch.save([o.state_dict() for o in (opt_actor, opt_critic, opt_alpha)], "sac/optimizers.pt")
