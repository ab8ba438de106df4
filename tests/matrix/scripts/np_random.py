"""np.random everywhere: data, batch choice, mixup, noise, scheduled dropout, learning-rate jitter."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

np.random.seed(2718)
torch.manual_seed(2718)
X = np.random.randn(2000, 18)
T = (np.abs(X[:, :3]).sum(1) - np.abs(X[:, 3:6]).sum(1) > 0).astype(np.int64)
net = nn.Sequential(
    nn.Linear(18, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2)
)
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
losses = np.zeros(1000)
best = np.inf
os.makedirs("np_out", exist_ok=True)
for i in range(1000):
    idx = np.random.choice(len(X), 48, replace=False)
    lam = np.random.beta(0.4, 0.4)
    other = np.random.permutation(idx)
    xb = lam * X[idx] + (1 - lam) * X[other]
    xb += np.random.normal(0, 0.05, xb.shape)
    mask = np.random.binomial(1, 0.9, xb.shape)
    xb = torch.from_numpy(xb * mask).float()
    out = net(xb)
    loss = lam * F.cross_entropy(out, torch.from_numpy(T[idx])) + (1 - lam) * F.cross_entropy(
        out, torch.from_numpy(T[other])
    )
    opt.param_groups[0]["lr"] = 1e-3 * np.random.uniform(0.8, 1.2)
    opt.zero_grad()
    loss.backward()
    opt.step()
    losses[i] = loss.detach().numpy()
    if i % 100 == 99:
        probe = np.random.randint(0, len(X), 300)
        with torch.no_grad():
            err = (
                net(torch.tensor(X[probe], dtype=torch.float32)).numpy().argmax(1) != T[probe]
            ).mean()
        best = min(best, err)
        print("%d loss %.5f err %.4f best %.4f" % (i + 1, losses[i - 99 : i + 1].mean(), err, best))
        np.savetxt("np_out/losses.txt", losses[: i + 1])
np.save("np_out/losses.npy", losses)
np.savez("np_out/weights.npz", **{k: v.numpy() for k, v in net.state_dict().items()})
torch.save(opt.state_dict(), "np_out/opt.pt")
