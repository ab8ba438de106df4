"""An accelerate loop with automatic names that saves but never loads."""

import sys
import time

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration


def main():
    accelerator = Accelerator(
        cpu=True,
        project_config=ProjectConfiguration(
            project_dir="project", automatic_checkpoint_naming=True, total_limit=3
        ),
    )
    torch.manual_seed(1)
    model = torch.nn.Linear(4, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters()))
    for step in range(1, 17):
        loss = model(torch.randn(8, 4)).square().mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if step % 4 == 0:
            accelerator.save_state()
        time.sleep(float(sys.argv[1]))
    print("ends", flush=True)


if __name__ == "__main__":
    main()
