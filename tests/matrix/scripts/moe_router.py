"""Mixture of experts: top-2 routing, every expert sees as many rows as were routed to it."""

import json
import os

import torch
import torch.nn as nn
import torch.nn.functional as F


class Expert(nn.Sequential):
    def __init__(self, d):
        super().__init__(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))


class MoE(nn.Module):
    def __init__(self, d, n, k=2):
        super().__init__()
        self.gate = nn.Linear(d, n, bias=False)
        self.experts = nn.ModuleList(Expert(d) for _ in range(n))
        self.k = k
        self.register_buffer("load", torch.zeros(n))

    def forward(self, x):
        logits = self.gate(x) + (
            0.1 * torch.randn(len(x), len(self.experts)) if self.training else 0
        )
        weight, chosen = logits.softmax(1).topk(self.k, 1)
        weight = weight / weight.sum(1, keepdim=True)
        out = torch.zeros_like(x)
        counts = torch.bincount(chosen.flatten(), minlength=len(self.experts))
        self.load.mul_(0.99).add_(counts / counts.sum(), alpha=0.01)
        for e in range(len(self.experts)):
            rows, slot = torch.where(chosen == e)
            if rows.numel() == 0:
                continue
            out.index_add_(0, rows, weight[rows, slot, None] * self.experts[e](x[rows]))
        share = logits.softmax(1).mean(0)
        aux = len(self.experts) * (share * counts / counts.sum()).sum()
        return x + out, aux


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp, self.moe1, self.moe2, self.head = (
            nn.Linear(16, 48),
            MoE(48, 6),
            MoE(48, 6),
            nn.Linear(48, 8),
        )

    def forward(self, x):
        h, a1 = self.moe1(self.inp(x))
        h, a2 = self.moe2(h)
        return self.head(h), a1 + a2


def main():
    torch.manual_seed(303)
    proto = torch.randn(24, 16)
    net = Net()
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
    history = []
    for step in range(500):
        k = torch.randint(0, 24, (96,))
        logits, aux = net(proto[k] + 0.6 * torch.randn(96, 16))
        loss = F.cross_entropy(logits, k % 8) + 0.01 * aux
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        if step % 10 == 0:
            history.append(
                {
                    "step": step,
                    "loss": float(loss),
                    "aux": float(aux),
                    "busiest": int(net.moe1.load.argmax()),
                }
            )
        if step % 100 == 0:
            print(
                history[-1],
                [
                    len(p.grad.nonzero()) if p.grad is not None else None
                    for p in net.moe1.gate.parameters()
                ],
            )
    os.makedirs("moe", exist_ok=True)
    torch.save({"net": net.state_dict(), "opt": opt.state_dict()}, "moe/final.pt")
    with open("moe/history.json", "w") as f:
        json.dump(history, f)


if __name__ == "__main__":
    main()
