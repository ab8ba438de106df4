"""DQN with a target network on a home-made cart-pole; replay memory of numpy transitions."""

import collections
import math
import os
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SEED = 3
GAMMA, BATCH, LR = 0.98, 32, 1e-3
EPS_START, EPS_END, EPS_DECAY = 0.9, 0.05, 400
STEPS = 1300
SYNC = 100

Transition = collections.namedtuple("Transition", ("state", "action", "next_state", "reward"))


class CartPole:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def reset(self):
        self.s = self.rng.uniform(-0.05, 0.05, 4)
        self.t = 0
        return self.s.astype(np.float32)

    def step(self, action):
        x, xd, th, thd = self.s
        force = 10.0 if action == 1 else -10.0
        c, s = math.cos(th), math.sin(th)
        tmp = (force + 0.05 * thd**2 * s) / 1.1
        tha = (9.8 * s - c * tmp) / (0.5 * (4.0 / 3.0 - 0.1 * c**2 / 1.1))
        xa = tmp - 0.05 * tha * c / 1.1
        self.s = np.array([x + 0.02 * xd, xd + 0.02 * xa, th + 0.02 * thd, thd + 0.02 * tha])
        self.t += 1
        done = abs(self.s[0]) > 2.4 or abs(self.s[2]) > 0.2095 or self.t >= 200
        return self.s.astype(np.float32), 1.0, done


class ReplayMemory:
    def __init__(self, capacity):
        self.memory = collections.deque([], maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, n):
        return random.sample(self.memory, n)

    def __len__(self):
        return len(self.memory)


def make_net():
    return nn.Sequential(
        nn.Linear(4, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 2)
    )


random.seed(SEED)
np.random.seed(SEED)
torch.manual_seed(SEED)
env = CartPole(SEED)
policy, target = make_net(), make_net()
target.load_state_dict(policy.state_dict())
optimizer = torch.optim.AdamW(policy.parameters(), lr=LR, amsgrad=True)
memory = ReplayMemory(800)
episode_durations = []
steps_done = 0


def select_action(state):
    global steps_done
    eps = EPS_END + (EPS_START - EPS_END) * math.exp(-steps_done / EPS_DECAY)
    steps_done += 1
    if random.random() > eps:
        with torch.no_grad():
            return policy(torch.from_numpy(state)[None]).max(1).indices.item()
    return random.randrange(2)


def optimize():
    if len(memory) < BATCH:
        return None
    batch = Transition(*zip(*memory.sample(BATCH)))
    mask = torch.tensor([s is not None for s in batch.next_state])
    next_states = torch.from_numpy(np.stack([s for s in batch.next_state if s is not None]))
    states = torch.from_numpy(np.stack(batch.state))
    actions = torch.tensor(batch.action)[:, None]
    rewards = torch.tensor(batch.reward)
    q = policy(states).gather(1, actions)
    next_q = torch.zeros(BATCH)
    with torch.no_grad():
        next_q[mask] = target(next_states).max(1).values
    loss = F.smooth_l1_loss(q, (next_q * GAMMA + rewards)[:, None])
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy.parameters(), 100)
    optimizer.step()
    return loss.item()


os.makedirs("dqn", exist_ok=True)
with open("dqn/episodes.csv", "w") as f:
    f.write("episode,duration,last_loss\n")
    while steps_done < STEPS:
        state = env.reset()
        loss = None
        for t in range(10000):
            action = select_action(state)
            nxt, reward, done = env.step(action)
            memory.push(state, action, None if done else nxt, reward)
            state = nxt
            loss = optimize()
            if steps_done % SYNC == 0:
                target.load_state_dict(policy.state_dict())
            if done:
                episode_durations.append(t + 1)
                f.write(f"{len(episode_durations)},{t + 1},{loss}\n")
                print("episode", len(episode_durations), "lasted", t + 1)
                break
np.save("dqn/durations.npy", np.array(episode_durations))
torch.save(
    {"policy": policy.state_dict(), "target": target.state_dict(), "opt": optimizer.state_dict()},
    "dqn/agent.pth",
)
