"""A thread that has opened a file, and writes it while the main thread waits for a snapshot's image."""

import os
import sys
import threading
import time

import torch


def is_asking():
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None and frame.f_code.co_name != "ask":
        frame = frame.f_back
    return frame is not None


def save(step, values, weights):
    handle = os.open(f"table-{step}.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for _ in range(300):
        if is_asking():
            time.sleep(0.2)
            break
        time.sleep(0.001)
    os.write(handle, repr((values, len(weights))).encode())
    os.close(handle)


torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
history, thread = [], None
for step in range(100):
    loss = model(torch.randn(8, 4)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())
    if step % 40 == 38:
        weights = [p.detach().clone() for p in model.parameters()]
        thread = threading.Thread(target=save, args=(step, list(history), weights))
        del weights
        thread.start()
        while not os.path.exists(f"table-{step}.txt"):
            time.sleep(0.001)
    if step % 40 == 10 and thread:
        thread.join()
print("FINAL", history[-1])
