"""A training script without a framework: it counts, and saves as Hugging Face's Trainer lays it out.

    counter.py TRACE STEP_S SAVE_STEPS

It imports nothing large, so that what a benchmark measures is not the start of a framework. Each beginning
and each step is appended with its time to TRACE, which lies outside the working directory and so outlives
everything.
"""

import json
import shutil
import struct
import sys
import time
from pathlib import Path

OUT = Path("out")


def main(trace: Path, step_s: float, save_steps: int) -> None:
    with trace.open("a", buffering=1) as log:
        began = time.time()
        step = newest()
        log.write(f"begin {step} {began:.6f}\n")
        while True:
            time.sleep(step_s)
            step += 1
            log.write(f"step {step} {time.time():.6f}\n")
            print(f"step {step}", flush=True)
            if step % save_steps == 0:
                save(step)
                shutil.rmtree(OUT / f"checkpoint-{step - 2 * save_steps}", ignore_errors=True)


def newest() -> int:
    whole = OUT.glob("checkpoint-*/trainer_state.json")
    return max((int(path.parent.name.partition("-")[2]) for path in whole), default=0)


def save(step: int) -> None:
    place = OUT / f"checkpoint-{step}"
    place.mkdir(parents=True, exist_ok=True)
    data = struct.pack("<Q", step) * 4096
    header = {"weights": {"dtype": "I64", "shape": [4096], "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    (place / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    # Its framework writes this one last: with it the checkpoint is complete.
    (place / "trainer_state.json").write_text(json.dumps({"global_step": step}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
