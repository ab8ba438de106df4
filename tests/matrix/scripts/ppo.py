"""PPO in one file, vectorised environments, GAE, minibatches indexed straight out of the rollout dict."""

import os
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn


@dataclass
class Args:
    seed: int = 1
    num_envs: int = 8
    num_steps: int = 32
    updates: int = 40
    epochs: int = 3
    minibatches: int = 4
    gamma: float = 0.97
    lam: float = 0.9
    clip: float = 0.2
    ent: float = 0.01
    lr: float = 2.5e-3
    target_kl: float = 0.05


args = Args()
np.random.seed(args.seed)
torch.manual_seed(args.seed)


class Grid:
    """Eight walkers on a torus that look for the goal."""

    def __init__(self, n):
        self.n = n
        self.pos = np.random.randint(0, 7, (n, 2))
        self.goal = np.random.randint(0, 7, (n, 2))

    def obs(self):
        return np.concatenate([self.pos, self.goal, self.goal - self.pos], 1).astype(np.float32) / 7

    def step(self, a):
        self.pos = (self.pos + np.array([[0, 1], [0, -1], [1, 0], [-1, 0]])[a]) % 7
        done = (self.pos == self.goal).all(1)
        k = int(done.sum())
        if k:
            self.pos[done] = np.random.randint(0, 7, (k, 2))
            self.goal[done] = np.random.randint(0, 7, (k, 2))
        return self.obs(), np.where(done, 1.0, -0.03).astype(np.float32), done.astype(np.float32)


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.pi = nn.Sequential(
            nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4)
        )
        self.v = nn.Sequential(
            nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
        )

    def get_action_and_value(self, x, action=None):
        dist = torch.distributions.Categorical(logits=self.pi(x))
        if action is None:
            action = dist.sample()
        return action, dist.log_prob(action), dist.entropy(), self.v(x).squeeze(-1)


envs, agent = Grid(args.num_envs), Agent()
optimizer = torch.optim.Adam(agent.parameters(), lr=args.lr, eps=1e-5)
shape = (args.num_steps, args.num_envs)
data = {"obs": torch.zeros(*shape, 6), "act": torch.zeros(shape, dtype=torch.long)}
data |= {k: torch.zeros(shape) for k in ("logp", "rew", "done", "val", "adv", "ret")}
next_obs, next_done = torch.tensor(envs.obs()), torch.zeros(args.num_envs)
os.makedirs("ppo", exist_ok=True)
log = open("ppo/progress.csv", "w")
for update in range(1, args.updates + 1):
    optimizer.param_groups[0]["lr"] = args.lr * (1 - (update - 1) / args.updates)
    for t in range(args.num_steps):
        data["obs"][t], data["done"][t] = next_obs, next_done
        with torch.no_grad():
            action, logp, _, value = agent.get_action_and_value(next_obs)
        data["act"][t], data["logp"][t], data["val"][t] = action, logp, value
        obs, rew, done = envs.step(action.numpy())
        data["rew"][t] = torch.from_numpy(rew)
        next_obs, next_done = torch.from_numpy(obs), torch.from_numpy(done)
    with torch.no_grad():
        last = agent.v(next_obs).squeeze(-1)
        gae = torch.zeros(args.num_envs)
        for t in reversed(range(args.num_steps)):
            alive = 1 - (next_done if t == args.num_steps - 1 else data["done"][t + 1])
            nxt = last if t == args.num_steps - 1 else data["val"][t + 1]
            delta = data["rew"][t] + args.gamma * nxt * alive - data["val"][t]
            gae = delta + args.gamma * args.lam * alive * gae
            data["adv"][t] = gae
        data["ret"] = data["adv"] + data["val"]
    flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in data.items()}
    inds = np.arange(args.num_steps * args.num_envs)
    size = len(inds) // args.minibatches
    clipfracs, stop = [], False
    for epoch in range(args.epochs):
        np.random.shuffle(inds)
        for start in range(0, len(inds), size):
            mb = inds[start : start + size]
            _, newlogp, entropy, value = agent.get_action_and_value(
                flat["obs"][mb], flat["act"][mb]
            )
            logratio = newlogp - flat["logp"][mb]
            ratio = logratio.exp()
            with torch.no_grad():
                kl = ((ratio - 1) - logratio).mean()
                clipfracs += [((ratio - 1.0).abs() > args.clip).float().mean().item()]
            adv = flat["adv"][mb]
            adv = (adv - adv.mean()) / (adv.std() + 1e-8)
            pg = torch.max(-adv * ratio, -adv * ratio.clamp(1 - args.clip, 1 + args.clip)).mean()
            v_loss = 0.5 * ((value - flat["ret"][mb]) ** 2).mean()
            loss = pg - args.ent * entropy.mean() + 0.5 * v_loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
        if kl > args.target_kl:
            break
    y_pred, y_true = flat["val"].numpy(), flat["ret"].numpy()
    explained = 1 - np.var(y_true - y_pred) / np.var(y_true)
    log.write(
        f"{update},{data['rew'].mean().item()!r},{v_loss.item()!r},{explained:.8f},{np.mean(clipfracs):.8f},{epoch}\n"
    )
    log.flush()
log.close()
torch.save(agent.state_dict(), "ppo/agent.pt")
torch.save(optimizer.state_dict(), "ppo/optimizer.pt")
