"""A small regression in plain Python: the same digest on every machine, for it only adds and multiplies."""

import argparse
import hashlib
import json
import time
from pathlib import Path

STATE = Path("out/state.json")


def pseudo_random(seed):
    while True:
        seed = (1103515245 * seed + 12345) % 2**31
        yield seed / 2**31


def fresh():
    return {"step": 0, "weights": [0.0] * 8, "seed": 7, "train_s": 0.0}


def load():
    if not STATE.exists():
        return fresh()
    state = json.loads(STATE.read_text())
    print("going on from step", state["step"], flush=True)
    return state


def save(state):
    STATE.parent.mkdir(exist_ok=True)
    draft = STATE.with_suffix(".tmp")
    draft.write_text(json.dumps(state))
    draft.replace(STATE)


def train_step(state):
    dice = pseudo_random(state["seed"] + state["step"])
    row = [next(dice) for _ in state["weights"]]
    target = sum((index + 1) * value for index, value in enumerate(row))
    error = sum(w * value for w, value in zip(state["weights"], row, strict=True)) - target
    state["weights"] = [w - 0.05 * error * v for w, v in zip(state["weights"], row, strict=True)]
    state["step"] += 1
    return error * error


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds a step")
    parser.add_argument("--save-every", type=int, default=0)
    options = parser.parse_args()
    state = load() if options.save_every else fresh()
    first = state["step"]
    began = time.monotonic() - state["train_s"]
    while state["step"] < options.steps:
        loss = train_step(state)
        time.sleep(options.pause)
        if state["step"] % 20 == 0:
            print(f"step {state['step']}/{options.steps} loss {loss:.4f}", flush=True)
        if options.save_every and state["step"] % options.save_every == 0:
            state["train_s"] = time.monotonic() - began
            save(state)
    digest = hashlib.sha256(json.dumps(state["weights"]).encode()).hexdigest()
    said = {"digest": digest, "first": first, "train_s": time.monotonic() - began}
    print("SMOKE", json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
