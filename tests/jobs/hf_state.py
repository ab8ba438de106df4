"""HF Trainer scripts that keep something where no checkpoint of the Trainer holds it: one place a kind."""

# ruff: noqa: ARG001, ARG002, ARG005, PTH103

import copy
import os
import random

import torch
from hf_data import COLLATE, DATA
from hf_trainer import Sequences, Slow
from hf_variants import leave, make_model, parse_arguments, settings
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

TALLY = {"seen": 0}
MEAN = None
AVERAGE = None


class Harder(TrainerCallback):
    """Makes the data harder after each epoch."""

    def on_epoch_end(self, args, state, control, train_dataloader=None, **kwargs):
        train_dataloader.dataset.level += 1


class GlobalCount(TrainerCallback):
    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        TALLY["seen"] += 1
        optimizer.param_groups[0]["weight_decay"] = 0.001 * TALLY["seen"]


class GlobalAverage(TrainerCallback):
    """Pulls the weights to their average."""

    def on_step_end(self, args, state, control, model=None, **kwargs):
        global AVERAGE
        AVERAGE = AVERAGE or copy.deepcopy(model)
        with torch.no_grad():
            for mean, p in zip(AVERAGE.parameters(), model.parameters(), strict=True):
                mean.lerp_(p, 0.1)
                p.lerp_(mean, 0.2)


class ClassCount(TrainerCallback):
    steps = 0

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        ClassCount.steps += 1
        optimizer.param_groups[0]["weight_decay"] = 0.001 * ClassCount.steps


class Calmer(TrainerCallback):
    """Clips harder after each log, by the arguments."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        args.max_grad_norm *= 0.93


class StateKeeper(TrainerCallback):
    """Counts in an attribute that it gives the state."""

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        state.calls = getattr(state, "calls", 0) + 1
        optimizer.param_groups[0]["weight_decay"] = 0.001 * state.calls


class Unfreezer(TrainerCallback):
    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        model.transformer.wte.weight.requires_grad_(True)


class LessDropout(TrainerCallback):
    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p *= 0.5


class OwnRate(TrainerCallback):
    """A rate of its own, from the step alone: the checkpoints hold all that there is."""

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 + state.global_step % 4)


class GlobalMean(Trainer):
    """Divides the loss by a mean of losses that it keeps in a global."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        global MEAN
        loss, found = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        MEAN = loss.detach() if MEAN is None else 0.9 * MEAN + 0.1 * loss.detach()
        return (loss / MEAN, found) if return_outputs else loss / MEAN


class ModelMean(Trainer):
    """Keeps that mean on the model."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        loss, found = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        mean = getattr(model, "mean", 1.0)
        model.mean = 0.9 * mean + 0.1 * loss.item()
        return (loss / mean, found) if return_outputs else loss / mean


class Warming(torch.nn.Module):
    """A module that counts its passes in a buffer that is not saved."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.register_buffer("passes", torch.zeros(()), persistent=False)

    def forward(self, hidden):
        self.passes += 1
        return self.inner(hidden) * (1 - 0.5 / (1 + self.passes))


class Calling(torch.nn.Module):
    """A module that counts its passes in a number."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, hidden):
        self.calls += 1
        return self.inner(hidden) * (1 - 0.5 / (1 + self.calls))


class Counted(torch.optim.AdamW):
    """An optimizer with a count that its state_dict lacks."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = 0

    def step(self, closure=None):
        self.calls += 1
        for group in self.param_groups:
            group["weight_decay"] = 0.001 * self.calls
        return super().step(closure)


class Weighted(Trainer):
    """Draws its rows by weight."""

    def _get_train_sampler(self, *args):
        weights = torch.linspace(1, 2, len(self.train_dataset))
        return torch.utils.data.WeightedRandomSampler(weights, len(weights))


class Shuffling(torch.utils.data.Sampler):
    """Shuffles with a stream of its own, or with that of Python."""

    def __init__(self, count, stream):
        self.count, self.stream = count, stream

    def __iter__(self):
        order = list(range(self.count))
        self.stream.shuffle(order)
        return iter(order)

    def __len__(self):
        return self.count


class Shuffled(Trainer):
    stream = None

    def _get_train_sampler(self, *args):
        return Shuffling(len(self.train_dataset), self.stream or random.Random(3))


class ShuffledGlobally(Shuffled):
    stream = random


def with_optimizer(model):
    optimizer = Counted(model.parameters(), lr=3e-3)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.99**step)


def with_stateful_rate(model):
    seen = [0]

    def rate(step):
        seen[0] += 1
        return 0.99 ** seen[0]

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def model_of(given):
    model = make_model()
    block = model.transformer.h[0]
    if given.variant == "model-buffer":
        block.mlp = Warming(block.mlp)
    if given.variant == "model-count":
        block.mlp = Calling(block.mlp)
    if given.variant == "hook":
        seen = []
        block.mlp.register_forward_hook(
            lambda m, i, o: (seen.append(0), o / (1 + 0.01 * len(seen)))[1]
        )
    if given.variant == "unfreeze":
        model.transformer.wte.weight.requires_grad_(False)
    return model


def make_loss():
    seen = [0]

    def loss_of(outputs, labels, num_items_in_batch=None):
        seen[0] += 1
        logits = outputs.logits[:, :-1].flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten())
        return loss / (1 + 0.01 * seen[0])

    return loss_of


CALLBACKS = {
    "curriculum": Harder,
    "callback-global": GlobalCount,
    "callback-class": ClassCount,
    "average-global": GlobalAverage,
    "args": Calmer,
    "state": StateKeeper,
    "unfreeze": Unfreezer,
    "dropout": LessDropout,
    "own-rate": OwnRate,
}
TRAINERS = {
    "loss-global": GlobalMean,
    "loss-model": ModelMean,
    "weighted": Weighted,
    "sampler-stream": Shuffled,
    "sampler-global": ShuffledGlobally,
}
OPTIMIZERS = {"optimizer": with_optimizer, "rate-closure": with_stateful_rate}
ARGUMENTS = {"grouped": {"train_sampling_strategy": "group_by_length"}}
OTHERS = ("plain", "model-buffer", "model-count", "hook", "loss-closure")
KINDS = sorted({*DATA, *COLLATE, *CALLBACKS, *TRAINERS, *OPTIMIZERS, *OTHERS})


def make_trainer(given):
    kind = given.variant
    if kind not in KINDS:
        raise SystemExit(f"no kind {kind}")
    more = {}
    model = model_of(given)
    if kind in COLLATE:
        more["data_collator"] = COLLATE[kind]()
    if kind in OPTIMIZERS:
        more["optimizers"] = OPTIMIZERS[kind](model)
    if kind == "loss-closure":
        more["compute_loss_func"] = make_loss()
    callbacks = [Slow(given.step_delay), *([CALLBACKS[kind]()] if kind in CALLBACKS else [])]
    workers = 2 if kind.endswith("workers") else 0
    chosen = settings(
        given,
        dataloader_num_workers=workers,
        remove_unused_columns=False,
        **ARGUMENTS.get(kind, {}),
    )
    rows = DATA[kind]() if kind in DATA else Sequences(96, 32, 97)
    return TRAINERS.get(kind, Trainer)(
        model=model,
        args=TrainingArguments(**chosen),
        train_dataset=rows,
        callbacks=callbacks,
        **more,
    )


def train(given):
    set_seed(7)
    trainer = make_trainer(given)
    trainer.train()
    return trainer


def train_each(given):
    """Train kinds in a process and a directory of their own each; they share the time of the imports."""
    data = {*DATA, *COLLATE}
    of_data = given.variant == "each-of-data"
    for kind in [kind for kind in KINDS if (kind in data) == of_data]:
        child = os.fork()
        if not child:
            os.makedirs(kind)
            os.chdir(kind)
            given.variant = kind
            train(given)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(kind, "ended", status, flush=True)


def main():
    given = parse_arguments()
    if given.variant.startswith("each"):
        train_each(given)
    else:
        leave(train(given), given)


if __name__ == "__main__":
    main()
