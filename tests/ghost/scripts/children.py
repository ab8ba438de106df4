"""Trains, and meanwhile forks, spawns and starts children that compute with torch themselves."""

import multiprocessing
import os
import subprocess
import sys

import torch
from torch.utils.data import DataLoader, TensorDataset


def work(seed, queue):
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
    queue.put(model.weight.sum().item())


def forked():
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        torch.manual_seed(3)
        os.write(writing, str(torch.rand(4).sum().item()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(reading, 100).decode()


def started(how):
    context = multiprocessing.get_context(how)
    queue = context.Queue()
    child = context.Process(target=work, args=(5, queue))
    child.start()
    found = queue.get()
    child.join()
    return found, child.exitcode


def main():
    torch.manual_seed(1)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    data = DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=8, shuffle=True, num_workers=1)
    told = []
    for epoch in range(4):
        for (x,) in data:
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
        if epoch == 1:
            told += [forked(), started("fork"), started("spawn")]
            code = "import torch; torch.manual_seed(2); print(torch.rand(2).sum().item())"
            told.append(subprocess.run([sys.executable, "-c", code], stdout=-1, check=True).stdout)
    torch.save(model.state_dict(), "children.pt")
    print("FINAL", loss.item(), told)


if __name__ == "__main__":
    main()
