"""HF Trainer scripts as people write them: one kind of training a variant, all of them tiny."""

# ruff: noqa: PLC0415, PTH123

import argparse
import hashlib
import json
import time

import torch
from hf_trainer import Sequences, Slow
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
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
    }.get(given.variant, {})
    if given.variant == "best":
        plain["eval_dataset"] = Sequences(32, 32, 97)
    if given.variant == "lora":
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=4, target_modules=["c_attn"], lora_dropout=0.1, fan_in_fan_out=True)
        plain["model"] = get_peft_model(plain["model"], lora)
    kind = {"subclass": Patient, "online": GRPOTrainer}.get(given.variant, Trainer)
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--variant", default="plain")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--save-steps", type=int, default=5)
    parser.add_argument("--step-delay", type=float, default=0.02, metavar="SECONDS")
    parser.add_argument("--from-own", action="store_true")
    parser.add_argument("--after", type=float, default=0.1, metavar="SECONDS")
    given = parser.parse_args()
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
    digest = hashlib.sha256()
    for name, tensor in sorted(trainer.model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    state = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    print("random", state.hexdigest(), flush=True)
    with open("history.json", "w") as file:
        json.dump(trainer.state.log_history, file)
    time.sleep(given.after)
    print("digest", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main()
