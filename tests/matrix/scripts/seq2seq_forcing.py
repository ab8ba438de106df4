"""GRU encoder, attending decoder; teacher forcing by random.random(), greedy decoding to check on it."""

import argparse
import os
import random

import torch
import torch.nn as nn
import torch.nn.functional as F

PAD, SOS, EOS = 0, 1, 2


class Encoder(nn.Module):
    def __init__(self, v, d):
        super().__init__()
        self.emb, self.gru = nn.Embedding(v, d, padding_idx=PAD), nn.GRU(d, d, batch_first=True)

    def forward(self, x):
        return self.gru(self.emb(x))


class Decoder(nn.Module):
    def __init__(self, v, d):
        super().__init__()
        self.emb, self.cell, self.out = (
            nn.Embedding(v, d),
            nn.GRUCell(2 * d, d),
            nn.Linear(2 * d, v),
        )

    def forward(self, token, h, memory, mask):
        score = (memory @ h[:, :, None]).squeeze(2).masked_fill(~mask, -1e9)
        ctx = (score.softmax(1)[:, :, None] * memory).sum(1)
        h = self.cell(torch.cat([self.emb(token), ctx], 1), h)
        return self.out(torch.cat([h, ctx], 1)), h


def batch(rng, n):
    rows = [[rng.randrange(3, 20) for _ in range(rng.randint(3, 7))] for _ in range(n)]
    src = torch.full((n, 7), PAD)
    tgt = torch.full((n, 8), PAD)
    for i, r in enumerate(rows):
        src[i, : len(r)] = torch.tensor(r)
        out = sorted(r)
        tgt[i, : len(r)] = torch.tensor(out)
        tgt[i, len(r)] = EOS
    return src, tgt


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--iters", type=int, default=420)
    ap.add_argument("--teacher-forcing", type=float, default=0.6)
    a = ap.parse_args()
    random.seed(61)
    torch.manual_seed(61)
    rng = random.Random(62)
    enc, dec = Encoder(20, 48), Decoder(20, 48)
    params = [*enc.parameters(), *dec.parameters()]
    opt = torch.optim.RAdam(params, lr=4e-3)
    os.makedirs("seq2seq", exist_ok=True)
    forced, exact = 0, 0.0
    with open("seq2seq/log.txt", "w") as f:
        for it in range(1, a.iters + 1):
            src, tgt = batch(rng, 32)
            memory, h = enc(src)
            h, mask = h[0], src != PAD
            token = torch.full((32,), SOS)
            use_teacher = random.random() < a.teacher_forcing
            forced += use_teacher
            loss = 0
            for t in range(tgt.size(1)):
                logits, h = dec(token, h, memory, mask)
                loss = loss + F.cross_entropy(logits, tgt[:, t], ignore_index=PAD)
                token = tgt[:, t] if use_teacher else logits.argmax(1)
                if not use_teacher and bool((token == EOS).all()):
                    break
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            opt.step()
            if it % 30 == 0:
                with torch.no_grad():
                    src, tgt = batch(random.Random(it), 64)
                    memory, h = enc(src)
                    h, mask, token, ok = (
                        h[0],
                        src != PAD,
                        torch.full((64,), SOS),
                        torch.ones(64, dtype=torch.bool),
                    )
                    for t in range(tgt.size(1)):
                        logits, h = dec(token, h, memory, mask)
                        token = logits.argmax(1)
                        ok &= (token == tgt[:, t]) | (tgt[:, t] == PAD)
                    exact = ok.float().mean().item()
                f.write(
                    f"{it} loss {loss.item() / tgt.size(1):.6f} exact {exact:.4f} forced {forced}\n"
                )
                f.flush()
    torch.save(
        {"enc": enc.state_dict(), "dec": dec.state_dict(), "opt": opt.state_dict()},
        "seq2seq/final.pt",
    )


if __name__ == "__main__":
    main()
