"""Skip-gram with negative sampling: sparse gradients, SparseAdam for the tables, Adam for the rest."""

import collections
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

np.random.seed(4)
torch.manual_seed(4)
V, D, NEG, WINDOW = 400, 32, 6, 3
topic = np.random.randint(0, 8, V)
corpus = []
state = 0
for _ in range(20000):
    if np.random.rand() < 0.05:
        state = np.random.randint(0, 8)
    corpus.append(int(np.random.choice(np.flatnonzero(topic == state))))
freq = collections.Counter(corpus)
noise = torch.tensor([freq.get(i, 0) ** 0.75 + 1e-3 for i in range(V)], dtype=torch.float)


class SkipGram(nn.Module):
    def __init__(self):
        super().__init__()
        self.center = nn.Embedding(V, D, sparse=True)
        self.context = nn.Embedding(V, D, sparse=True)
        nn.init.uniform_(self.center.weight, -0.5 / D, 0.5 / D)
        nn.init.zeros_(self.context.weight)
        self.scale = nn.Linear(D, D)

    def forward(self, c, o, neg):
        vc = self.scale(self.center(c))
        pos = F.logsigmoid((vc * self.context(o)).sum(1))
        ng = F.logsigmoid(-(self.context(neg) @ vc[:, :, None]).squeeze(2)).sum(1)
        return -(pos + ng).mean()


model = SkipGram()
sparse = torch.optim.SparseAdam([*model.center.parameters(), *model.context.parameters()], lr=0.01)
dense = torch.optim.Adam(model.scale.parameters(), lr=1e-3)
words = np.array(corpus)
os.makedirs("w2v", exist_ok=True)
log = open("w2v/log.tsv", "w")
for step in range(1000):
    pos = np.random.randint(WINDOW, len(words) - WINDOW, 64)
    off = np.random.randint(1, WINDOW + 1, 64) * np.random.choice([-1, 1], 64)
    c, o = torch.from_numpy(words[pos]), torch.from_numpy(words[pos + off])
    neg = torch.multinomial(noise, 64 * NEG, replacement=True).view(64, NEG)
    sparse.zero_grad()
    dense.zero_grad()
    loss = model(c, o, neg)
    loss.backward()
    sparse.step()
    dense.step()
    if step % 20 == 0:
        with torch.no_grad():
            e = F.normalize(model.center.weight, dim=1)
            near = (e[:20] @ e.T).topk(6).indices[:, 1:]
        same = np.mean([topic[j] == topic[i] for i in range(20) for j in near[i].tolist()])
        log.write(f"{step}\t{loss.item():.7f}\t{same:.4f}\n")
        log.flush()
log.close()
torch.save(model.state_dict(), "w2v/vectors.pt")
torch.save({"sparse": sparse.state_dict(), "dense": dense.state_dict()}, "w2v/optim.pt")
