"""An ordinary training script: a small GPT-2 from its config, HF Trainer, data that it makes itself."""

# ruff: noqa: ARG002, PTH123

import argparse
import hashlib
import json
import os
import sys
import time

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

HOLD_AT_STEP = int(os.environ.get("HOLD_AT_STEP") or 1 << 30)
"""Where a run that is to be killed waits for it, however late the test comes."""


class Sequences(torch.utils.data.Dataset):
    """Noisy arithmetic sequences, made from a seed."""

    def __init__(self, count, length, vocabulary):
        generator = torch.Generator().manual_seed(11)
        start = torch.randint(0, vocabulary, (count, 1), generator=generator)
        stride = torch.randint(1, 7, (count, 1), generator=generator)
        noise = torch.randint(0, 2, (count, length), generator=generator)
        self.tokens = (start + stride * torch.arange(length) + noise) % vocabulary

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


class Slow(TrainerCallback):
    """Stands for a larger model."""

    def __init__(self, delay_s):
        self.delay_s = delay_s

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == HOLD_AT_STEP:
            time.sleep(0.5)  # of steps that follow each other fast not each one is told
        while state.global_step > HOLD_AT_STEP:
            time.sleep(1)

    def on_step_end(self, args, state, control, **kwargs):
        time.sleep(self.delay_s)


class StepLog(TrainerCallback):
    """A log of the user's own, appended to beside the checkpoints."""

    def __init__(self, path):
        self.path = path

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and logs and "loss" in logs:
            with open(self.path, "a") as file:
                file.write(f"{state.global_step},{logs['loss']!r}\n")


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="out")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--save-steps", type=int, default=10, help="0: never")
    parser.add_argument("--save-total-limit", type=int, default=2)
    parser.add_argument("--step-delay", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--save-only-model", action="store_true")
    return parser.parse_args()


def main():
    given = parse_arguments()
    set_seed(7)
    config = GPT2Config(vocab_size=97, n_positions=32, n_embd=32, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(config)
    arguments = TrainingArguments(
        output_dir=given.out,
        max_steps=given.steps,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=given.accumulate,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        warmup_steps=5,
        logging_steps=1,
        save_strategy="steps" if given.save_steps else "no",
        save_steps=given.save_steps or 500,
        save_total_limit=given.save_total_limit,
        save_only_model=given.save_only_model,
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Sequences(400, 32, 97),
        callbacks=[Slow(given.step_delay), StepLog("steps.csv")],
    )
    trainer.train()
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    # Each rank's times differ, and so do the lengths: two of them in one file at once would not be JSON.
    if trainer.is_world_process_zero():
        with open("history.json", "w") as file:
            json.dump(trainer.state.log_history, file)
    # In one piece: two ranks may write into one pipe.
    sys.stdout.write(f"digest {digest.hexdigest()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
