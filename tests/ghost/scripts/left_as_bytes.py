"""The best weights in buffers, pickled, in a data base and in files elsewhere; none is saved late."""

import io
import os
import pathlib
import pickle
import sqlite3
import sys
import tempfile

import torch

torch.manual_seed(0)
layers = (torch.nn.Linear(8, 550), torch.nn.ReLU(), torch.nn.Linear(550, 550), torch.nn.Tanh())
model = torch.nn.Sequential(*layers, torch.nn.Linear(550, 1))
opt = torch.optim.Adam(model.parameters(), 1e-3)
small, large = torch.nn.Linear(3, 3), io.BytesIO()
below, elsewhere = tempfile.mkdtemp(dir="."), tempfile.mkdtemp()
fixed = os.environ["OUTSIDE"] + "/best.pt"
base = sqlite3.connect(":memory:")
base.execute("create table states (step int, state blob)")
best = 1e9
for step in range(100):
    x = torch.randn(16, 8)
    loss = ((model(x) - x[:, :1] * 2) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step < 30 and loss.item() < best:
        best = loss.item()
        small.weight.data.copy_(model[4].weight[:, :3])
        large.seek(0)
        large.truncate()
        torch.save(model.state_dict(), large)
        torch.save(model.state_dict(), fixed)
        torch.save(small.state_dict(), elsewhere + "/small.pt")
        torch.save(small.state_dict(), below + "/small.pt")
        buffer = io.BytesIO()
        torch.save(small.state_dict(), buffer)
        given = buffer.getvalue()
        with pathlib.Path("small.pkl").open("wb") as file:
            pickle.dump(small.weight.data, file)
        base.execute("insert into states values (?, ?)", (step, pickle.dumps(small.weight.data)))
large.seek(0)
read = [torch.load(large), torch.load(fixed), torch.load(io.BytesIO(given))]
read += [torch.load(place + "/small.pt") for place in (elsewhere, below)]
read += [pickle.loads(row[0]) for row in base.execute("select state from states order by step")]
with pathlib.Path("small.pkl").open("rb") as file:
    read.append(pickle.load(file))
pathlib.Path("small.pkl").unlink()
pathlib.Path(below).rename("below")
torch.save(read, "read.pt")
sys.stdout.write(f"FINAL {best} {len(read)}\n")
