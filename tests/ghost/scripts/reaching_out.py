"""Runs commands, logs to a tracker and writes event files; what it tells the world is counted there."""

import os
import sqlite3
import subprocess
import sys

import torch

OUT = os.environ["OUTSIDE"]
# Libraries that stand in for the real ones: the same names in the same modules, next to nothing in them.
LIBRARIES = {
    "wandb/sdk/wandb_run.py": """
class Run:
    def __init__(self, path):
        self.path = path
    def log(self, values):
        with open(self.path, "a") as file:
            file.write("%d\\n" % values["step"])
""",
    "tensorboard/summary/writer/event_file_writer.py": """
import os
class EventFileWriter:
    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        self.path = os.path.join(directory, "events.out.tfevents.%d" % os.getpid())
        self.kept = ["begin"]
    def add_event(self, event):
        self.kept.append(str(event))
    def flush(self):
        with open(self.path, "a") as file:
            file.writelines(line + "\\n" for line in self.kept)
        self.kept = []
""",
}
place = os.path.abspath("site-packages")
for name, source in LIBRARIES.items():
    path = os.path.join(place, name)
    while not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(source)
sys.path.append(place)

from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: E402
from wandb.sdk.wandb_run import Run  # noqa: E402

torch.manual_seed(1)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
tracker, events = Run(os.path.join(OUT, "wandb")), EventFileWriter("runs/one")
table = sqlite3.connect("table.db")
table.execute("create table losses (step integer, loss real)")
counts = []
for step in range(100):
    loss = model(torch.randn(8, 4)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    tracker.log({"step": step})
    events.add_event(step)
    table.execute("insert into losses values (?, ?)", (step, loss.item()))
    table.commit()
    if step % 10 == 7:
        command = f"echo {step} >> {OUT}/commands; echo {step}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        counts.append(int(done.stdout))
        os.system(f"echo {step} >> {OUT}/system")
events.flush()
rows = table.execute("select count(*), max(step) from losses").fetchone()
print("FINAL", counts, rows, loss.item())
