"""Names its run by the date before torch is there, and draws from streams that nobody seeded."""

import os
import random
import time
import uuid
from datetime import date, datetime, timezone
from time import time as now

import numpy as np

began = now()
named = datetime.now()  # noqa: DTZ005
run = os.path.join("runs", named.strftime("%d-%H%M%S-%f") + uuid.uuid4().hex[:4])
mine, fresh = random.Random(), np.random.default_rng()

import torch  # noqa: E402

random.seed()
np.random.seed()
torch.seed()
late = np.random.default_rng(None)
os.makedirs(run)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 1e-2)
stamps = []
with open(os.path.join(run, "log.txt"), "w") as log:
    for step in range(100):
        noise = mine.random() + fresh.random() + late.random() + np.random.rand() + random.random()
        loss = model(torch.randn(8, 4)).pow(2).mean() * noise
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        today = date.today()  # noqa: DTZ011
        stamps.append((time.strftime("%H:%M:%S"), time.localtime()[5], time.ctime(), today.day))
        stamps.append(datetime.now(timezone.utc).isoformat())
        log.write(f"{step} {loss.item()!r} {noise!r} {stamps[-1]}\n")
print("FINAL", len(stamps), now() > began)
