"""Keeps and writes down what it measures of its machine, as training scripts like to."""

import os
import platform
import resource
import shutil
import socket
import tracemalloc

import psutil
import torch

torch.manual_seed(0)
tracemalloc.start()
me = psutil.Process()
started = {
    "host": socket.gethostname(),
    "node": platform.node(),
    "platform": (platform.platform(), platform.uname().release),
    "system": os.uname().nodename,
    "cores": len(os.sched_getaffinity(0)),
    "room_b": shutil.disk_usage(".").free,
    "memory_b": psutil.virtual_memory().available,
}
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
figures = []
with open("log.txt", "w") as log:
    for step in range(100):
        loss = model(torch.randn(8, 4)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        used = resource.getrusage(resource.RUSAGE_SELF)
        try:
            psutil.disk_usage("/nowhere/at/all")
        except FileNotFoundError as missing:
            refused = str(missing)
        figures.append((used.ru_maxrss, used.ru_utime, tracemalloc.get_traced_memory()[0]))
        now = (me.memory_info().rss, me.cpu_percent(), os.getloadavg()[0], os.times().user)
        log.write(f"{step} {loss.item()!r} {now} {psutil.cpu_percent()}\n")
print("FINAL", len(figures), len(started), refused)
