"""A thread that saves while training goes on: weights, and a long table that it writes by itself.

With an argument each thread is long in coming to its work.
"""

import json
import sys
import threading
import time

import torch


class Waits(torch.nn.Linear):
    """Waits for the thread now and then, which a replay does not."""

    def forward(self, x):
        if step % 20 == 18:
            thread.join()
        return super().forward(x)


torch.manual_seed(0)
model = Waits(64, 64)
opt = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
history, thread = [], None


def save(step, weights, table):
    with open("table.json", "w") as file:
        json.dump(table, file)
    torch.save(weights, f"weights-{step}.pt")
    time.sleep(0.5)
    torch.save(weights, f"late-{step}.pt")


def waits(frame, event, _):
    if event == "call" and frame.f_code.co_name == "run":
        time.sleep(0.3)


if len(sys.argv) > 1:
    threading.setprofile(waits)
for step in range(100):
    loss = (model(torch.randn(8, 64)) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    history.append(loss.item())
    if step % 20 == 8:
        weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        thread = threading.Thread(target=save, args=(step, weights, list(history)), name="saver")
        del weights
        thread.start()
torch.save((model.state_dict(), history), "final.pt")
sys.stdout.write(f"FINAL {history[-1]}\n")
