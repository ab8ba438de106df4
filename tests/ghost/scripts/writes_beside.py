"""A thread that is always in the middle of a file, or one that adds a line now and then."""

import sys
import threading
import time

import torch

torch.manual_seed(0)
over = threading.Event()


def write():
    with open("rows.txt", "w") as file:
        while not over.is_set():
            file.seek(0)
            file.write("row " * 300_000)
            file.flush()


def beat():
    with open("beats.txt", "a") as file:
        while not over.wait(0.05):
            file.write("beat\n")


target = {"rows": write, "beats": beat}[sys.argv[1]]
thread = threading.Thread(target=target, name="writer", daemon=True)
model = torch.nn.Linear(4, 1)
opt = torch.optim.SGD(model.parameters(), 1e-2)
for step in range(40):
    loss = (model(torch.randn(8, 4)) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step == 3:
        thread.start()
    time.sleep(0.01)
over.set()
thread.join()
sys.stdout.write(f"FINAL {loss.item()}\n")
