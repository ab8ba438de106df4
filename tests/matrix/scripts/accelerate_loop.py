"""An accelerate loop: accumulation, clipping, a schedule of transformers, gather_for_metrics."""

import json
import os

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import get_cosine_schedule_with_warmup

EPOCHS, ACCUM = 8, 2


def main():
    accelerator = Accelerator(gradient_accumulation_steps=ACCUM, cpu=True)
    set_seed(71)
    x = torch.randn(1500, 32)
    y = (x[:, :16].pow(2).sum(1) > x[:, 16:].pow(2).sum(1)).long()
    train = DataLoader(TensorDataset(x[:1200], y[:1200]), batch_size=16, shuffle=True)
    test = DataLoader(TensorDataset(x[1200:], y[1200:]), batch_size=64)
    model = nn.Sequential(
        nn.Linear(32, 192),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Linear(192, 192),
        nn.GELU(),
        nn.Linear(192, 2),
    )
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
    sched = get_cosine_schedule_with_warmup(opt, 20, EPOCHS * len(train) // ACCUM)
    model, opt, train, test, sched = accelerator.prepare(model, opt, train, test, sched)
    history = []
    for epoch in range(EPOCHS):
        model.train()
        total = 0
        for xb, yb in train:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(xb), yb)
                total += loss.detach().float()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                sched.step()
                opt.zero_grad()
        model.eval()
        hits = []
        for xb, yb in test:
            with torch.no_grad():
                pred = model(xb).argmax(-1)
            pred, ref = accelerator.gather_for_metrics((pred, yb))
            hits.append(pred == ref)
        history.append(
            {
                "epoch": epoch,
                "loss": total.item() / len(train),
                "accuracy": torch.cat(hits).float().mean().item(),
            }
        )
        accelerator.print(history[-1])
    accelerator.wait_for_everyone()
    os.makedirs("acc", exist_ok=True)
    accelerator.save(accelerator.unwrap_model(model).state_dict(), "acc/model.pt")
    accelerator.save(opt.state_dict(), "acc/optimizer.pt")
    with open("acc/history.json", "w") as f:
        json.dump(history, f)


if __name__ == "__main__":
    main()
