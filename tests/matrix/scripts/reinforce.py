"""REINFORCE with a running baseline; sampled actions drive the length of every episode."""

import argparse
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

parser = argparse.ArgumentParser()
parser.add_argument("--gamma", type=float, default=0.95)
parser.add_argument("--seed", type=int, default=543)
parser.add_argument("--episodes", type=int, default=420)
parser.add_argument("--log-interval", type=int, default=10)
args = parser.parse_args()
torch.manual_seed(args.seed)


class Corridor:
    """Walk right along a slippery corridor."""

    size = 9

    def __init__(self, seed):
        self.rng = np.random.RandomState(seed)

    def obs(self):
        v = np.zeros(self.size, dtype=np.float32)
        v[self.pos] = 1
        return v

    def reset(self):
        self.pos, self.t = self.size // 2, 0
        return self.obs()

    def step(self, a):
        move = 1 if a == 1 else -1
        if self.rng.rand() < 0.15:
            move = -move
        self.pos = min(max(self.pos + move, 0), self.size - 1)
        self.t += 1
        goal = self.pos == self.size - 1
        return self.obs(), (1.0 if goal else -0.02), goal or self.t > 30


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(9, 64)
        self.dropout = nn.Dropout(p=0.2)
        self.affine2 = nn.Linear(64, 2)
        self.saved_log_probs = []
        self.rewards = []

    def forward(self, x):
        x = F.relu(self.dropout(self.affine1(x)))
        return F.softmax(self.affine2(x), dim=1)


env = Corridor(args.seed)
policy = Policy()
optimizer = optim.Adam(policy.parameters(), lr=5e-3)
eps = np.finfo(np.float32).eps.item()


def select_action(state):
    probs = policy(torch.from_numpy(state).float().unsqueeze(0))
    m = Categorical(probs)
    action = m.sample()
    policy.saved_log_probs.append(m.log_prob(action))
    return action.item()


def finish_episode():
    R, returns = 0, []
    for r in policy.rewards[::-1]:
        R = r + args.gamma * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps) if len(returns) > 1 else returns
    policy_loss = [-lp * R for lp, R in zip(policy.saved_log_probs, returns)]
    optimizer.zero_grad()
    loss = torch.cat(policy_loss).sum()
    loss.backward()
    optimizer.step()
    del policy.rewards[:]
    del policy.saved_log_probs[:]
    return loss.item()


def main():
    running_reward = 0.0
    out = Path("results")
    out.mkdir(exist_ok=True)
    rewards = []
    for i_episode in range(1, args.episodes + 1):
        state, ep_reward = env.reset(), 0
        for t in count(1):
            action = select_action(state)
            state, reward, done = env.step(action)
            policy.rewards.append(reward)
            ep_reward += reward
            if done:
                break
        running_reward = 0.05 * ep_reward + 0.95 * running_reward
        loss = finish_episode()
        rewards.append(ep_reward)
        with open(out / "rewards.txt", "a") as f:
            f.write(f"{i_episode}\t{t}\t{ep_reward:.6f}\t{loss!r}\n")
        if i_episode % args.log_interval == 0:
            print(f"Episode {i_episode}\tLast: {ep_reward:.2f}\tAverage: {running_reward:.3f}")
    torch.save(
        {"policy": policy.state_dict(), "optimizer": optimizer.state_dict()}, out / "policy.pt"
    )
    np.savez(out / "rewards.npz", rewards=np.array(rewards))


if __name__ == "__main__":
    main()
