"""The learning rate and the end of the run follow the clock: train for a budget of seconds."""

import datetime
import json
import os
import time

import torch
import torch.nn as nn

BUDGET_S = 9.0
torch.manual_seed(10)
model = nn.Sequential(
    nn.Linear(12, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1)
)
opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
os.makedirs("budget", exist_ok=True)
start = time.perf_counter()
log = open("budget/steps.jsonl", "w")
step = 0
while True:
    progress = (time.perf_counter() - start) / BUDGET_S
    if progress >= 1 and step > 400:
        break
    opt.param_groups[0]["lr"] = 0.05 * max(0.02, 1 - progress)
    x = torch.randn(128, 12)
    y = (x[:, :6] * x[:, 6:]).sum(1, keepdim=True)
    loss = nn.functional.smooth_l1_loss(model(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    step += 1
    row = {"step": step, "loss": loss.item(), "lr": opt.param_groups[0]["lr"], "progress": progress}
    if step % 50 == 0:
        row["at"] = datetime.datetime.now().isoformat()
        print(step, f"{time.perf_counter() - start:.1f}s", row["loss"])
    log.write(json.dumps(row) + "\n")
    log.flush()
log.close()
torch.save(
    {"model": model.state_dict(), "optimizer": opt.state_dict(), "step": step}, "budget/final.pt"
)
