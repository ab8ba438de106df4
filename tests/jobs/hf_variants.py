"""HF Trainer scripts as people write them: one kind of training a variant, all of them tiny."""

# ruff: noqa: ARG002, PLC0415, PTH123

import argparse
import hashlib
import json
import time

import numpy as np
import torch
from hf_trainer import Sequences, Slow
from transformers import (
    EarlyStoppingCallback,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class Stream(torch.utils.data.IterableDataset):
    """The same sequences as a stream that knows neither length nor position."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        for row in self.rows:
            yield dict(row)


class Patient(Trainer):
    """A Trainer of the user's own, with a loss of its own."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        found = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        loss = found[0] + 1e-4 * sum(p.square().sum() for p in model.parameters())
        return (loss, found[1]) if return_outputs else loss


class Counting(Trainer):
    """A Trainer whose loss depends on what it counts in an attribute of its own."""

    batches = 0

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        self.batches += 1
        found = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        loss = found[0] / (1 + 0.01 * self.batches)
        return (loss, found[1]) if return_outputs else loss


class Anchor(TrainerCallback):
    """Pulls the weights to those with which the training began."""

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.begun = [p.detach().clone() for p in model.parameters()]

    def on_step_end(self, args, state, control, model=None, **kwargs):
        with torch.no_grad():
            for p, b in zip(model.parameters(), self.begun, strict=True):
                p.lerp_(b, 0.05)


class Kept(TrainerCallback):
    """Lowers the learning rate by a mean of losses that it keeps."""

    mean = None

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.mean = logs["loss"] if self.mean is None else 0.9 * self.mean + 0.1 * logs["loss"]

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        for group in optimizer.param_groups if self.mean else []:
            group["lr"] *= 1 / (1 + self.mean)


class Noisy(Sequences):
    """Data that an own stream changes each time."""

    def __init__(self, *shape):
        super().__init__(*shape)
        self.rng = np.random.default_rng(3)

    def __getitem__(self, index):
        row = dict(super().__getitem__(index))
        row["input_ids"] = row["input_ids"].roll(int(self.rng.integers(3)))
        return row


class Labelled(Sequences):
    """Each sequence has one of three classes."""

    def __getitem__(self, index):
        row = super().__getitem__(index)
        return row | {"labels": row["input_ids"].sum() % 3}


def make_classifier():
    shape = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    config = GPT2Config(vocab_size=97, num_labels=3, pad_token_id=96, **shape)
    return GPT2ForSequenceClassification(config)


def masked(rows):
    """Collate, and draw which inputs are hidden."""
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    hidden = torch.rand(batch["input_ids"].shape) < 0.2
    batch["input_ids"] = batch["input_ids"].masked_fill(hidden, 0)
    return batch


class GRPOTrainer(Trainer):
    """Bears the name of one that keeps samples between its steps."""


def make_model():
    config = GPT2Config(vocab_size=97, n_positions=32, n_embd=32, n_layer=2, n_head=2)
    return GPT2LMHeadModel(config)


def settings(given, **more):
    chosen = {
        "output_dir": "out",
        "max_steps": given.steps,
        "per_device_train_batch_size": 8,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "cosine",
        "logging_steps": 1,
        "save_steps": given.save_steps,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return chosen | more


def make_trainer(given):
    rows = Sequences(96, 32, 97)
    plain = {"model": make_model(), "train_dataset": rows}
    slow = [Slow(given.step_delay)]
    if given.variant == "stream":
        plain["train_dataset"] = Stream(rows)
    more = {
        "accumulate": {"gradient_accumulation_steps": 3},
        "workers": {"dataloader_num_workers": 2},
        "epochs": {"max_steps": -1, "num_train_epochs": 3, "save_total_limit": 2},
        "best": {
            "eval_strategy": "steps",
            "eval_steps": given.save_steps,
            "load_best_model_at_end": True,
            "save_total_limit": 1,
        },
        "skip": {"ignore_data_skip": True},
        "never": {"save_strategy": "no"},
        "draws-workers": {"dataloader_num_workers": 2},
        "patience": {
            "eval_strategy": "steps",
            "eval_steps": given.save_steps,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "learning_rate": 0.3,
        },
    }.get(given.variant, {})
    if given.variant in ("draws", "draws-workers"):
        plain["data_collator"] = masked
    if given.variant == "own-stream":
        plain["train_dataset"] = Noisy(96, 32, 97)
    if given.variant == "classes":
        plain = {"model": make_classifier(), "train_dataset": Labelled(96, 32, 97)}
    if given.variant == "patience":
        slow.append(EarlyStoppingCallback(3, early_stopping_threshold=100.0))
    if given.variant in ("kept", "anchor"):
        slow.append({"kept": Kept, "anchor": Anchor}[given.variant]())
    if given.variant in ("best", "patience"):
        plain["eval_dataset"] = Sequences(32, 32, 97)
    if given.variant == "lora":
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=4, target_modules=["c_attn"], lora_dropout=0.1, fan_in_fan_out=True)
        plain["model"] = get_peft_model(plain["model"], lora)
    kind = {"subclass": Patient, "online": GRPOTrainer, "counting": Counting}.get(
        given.variant, Trainer
    )
    return kind(args=TrainingArguments(**settings(given, **more)), callbacks=slow, **plain)


def train_twice(given, second_dir):
    """Two trainings in one script: the second goes on with the model of the first."""
    model, rows = make_model(), Sequences(96, 32, 97)
    for number, out in enumerate(["out", second_dir]):
        arguments = TrainingArguments(
            **settings(given, output_dir=out, learning_rate=3e-3 / (number + 1))
        )
        trainer = Trainer(
            model=model, args=arguments, train_dataset=rows, callbacks=[Slow(given.step_delay)]
        )
        trainer.train()
        print("trained", number, flush=True)
    return trainer


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--variant", default="plain")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--save-steps", type=int, default=5)
    parser.add_argument("--step-delay", type=float, default=0.02, metavar="SECONDS")
    parser.add_argument("--from-own", action="store_true")
    parser.add_argument("--after", type=float, default=0.1, metavar="SECONDS")
    return parser.parse_args()


def leave(trainer, given):
    """Tell what has come of it: weights, the random state, and every log."""
    digest = hashlib.sha256()
    for name, tensor in sorted(trainer.model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    print("random", state.hexdigest(), flush=True)
    with open("history.json", "w") as file:
        json.dump(trainer.state.log_history, file)
    time.sleep(given.after)
    trainer.save_model("final")
    print("digest", digest.hexdigest(), flush=True)


def main():
    given = parse_arguments()
    set_seed(7)
    if given.variant == "two-places":
        trainer = train_twice(given, "out2")
    elif given.variant == "one-place":
        trainer = train_twice(given, "out")
    else:
        trainer = make_trainer(given)
        own = None
        if given.from_own:
            from transformers.trainer_utils import get_last_checkpoint

            own = get_last_checkpoint("out")
            print("script resumes", own, flush=True)
        trainer.train(resume_from_checkpoint=own)
    leave(trainer, given)


if __name__ == "__main__":
    main()
