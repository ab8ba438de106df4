"""Two-layer GCN with a dense normalised adjacency, full batch, edge dropout."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(21)
np.random.seed(21)
N, C, D = 160, 4, 24
labels = np.random.randint(0, C, N)
prob = np.where(labels[:, None] == labels[None, :], 0.12, 0.02)
A = (np.random.rand(N, N) < prob).astype(np.float32)
A = np.triu(A, 1)
A = torch.tensor(A + A.T)
X = torch.tensor(
    np.eye(C)[labels] @ np.random.randn(C, D) * 0.4 + np.random.randn(N, D), dtype=torch.float32
)
y = torch.tensor(labels)
perm = np.random.permutation(N)
train_mask = torch.zeros(N, dtype=torch.bool)
train_mask[perm[:40]] = True
val_mask = torch.zeros(N, dtype=torch.bool)
val_mask[perm[40:90]] = True
test_mask = ~(train_mask | val_mask)


class GCNConv(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.lin = nn.Linear(i, o, bias=False)
        self.bias = nn.Parameter(torch.zeros(o))

    def forward(self, x, adj):
        adj = adj + torch.eye(len(adj))
        d = adj.sum(1).rsqrt()
        return d[:, None] * (adj @ (d[:, None] * self.lin(x))) + self.bias


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = GCNConv(D, 64), GCNConv(64, 64), GCNConv(64, C)

    def forward(self, x, adj):
        if self.training:
            keep = torch.bernoulli(torch.full_like(adj, 0.9)).triu(1)
            adj = adj * (keep + keep.T)
        x = F.dropout(F.relu(self.conv1(x, adj)), 0.5, self.training)
        x = F.dropout(F.relu(self.conv2(x, adj)), 0.5, self.training)
        return self.conv3(x, adj)


model = GCN()
optimizer = torch.optim.Adam(
    [
        {"params": model.conv1.parameters(), "weight_decay": 5e-4},
        {"params": [*model.conv2.parameters(), *model.conv3.parameters()], "weight_decay": 0},
    ],
    lr=0.01,
)


def train():
    model.train()
    optimizer.zero_grad()
    out = model(X, A)
    loss = F.cross_entropy(out[train_mask], y[train_mask])
    loss.backward()
    optimizer.step()
    return float(loss)


@torch.no_grad()
def test():
    model.eval()
    pred = model(X, A).argmax(dim=-1)
    return [int((pred[m] == y[m]).sum()) / int(m.sum()) for m in (train_mask, val_mask, test_mask)]


os.makedirs("gcn", exist_ok=True)
best_val_acc = test_acc = 0
best_state = None
with open("gcn/log.txt", "w") as f:
    for epoch in range(1, 900):
        loss = train()
        train_acc, val_acc, tmp_test_acc = test()
        if val_acc > best_val_acc:
            best_val_acc, test_acc = val_acc, tmp_test_acc
            best_state = {k: v.clone() for k, v in model.state_dict().items()}
        if epoch % 5 == 0:
            print(
                f"Epoch: {epoch:03d}, Loss: {loss:.6f}, Train: {train_acc:.4f}, Val: {val_acc:.4f}, Test: {test_acc:.4f}",
                file=f,
            )
print("best", best_val_acc, test_acc)
torch.save(
    {"last": model.state_dict(), "best": best_state, "optimizer": optimizer.state_dict()},
    "gcn/gcn.pt",
)
