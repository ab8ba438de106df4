"""Data and collators that keep something from batch to batch, or draw random numbers: one place a kind."""

# ruff: noqa: PLC0415

import random
from functools import partial

import numpy as np
import torch
from hf_trainer import Sequences
from hf_variants import Stream

STREAM = np.random.default_rng(5)
TALLY = {"seen": 0}


def collated(rows):
    return {name: torch.stack([torch.as_tensor(row[name]) for row in rows]) for name in rows[0]}


def hidden(batch, share):
    """Hide some inputs, by the number of the batch."""
    batch["input_ids"] = batch["input_ids"].roll(int(share) % 5, dims=1)
    return batch


def collate_with_global_stream(rows):
    return hidden(collated(rows), STREAM.integers(5))


def collate_with_global_count(rows):
    TALLY["seen"] += 1
    return hidden(collated(rows), TALLY["seen"])


def collate_with_own_attribute(rows):
    collate_with_own_attribute.seen = getattr(collate_with_own_attribute, "seen", 0) + 1
    return hidden(collated(rows), collate_with_own_attribute.seen)


def make_counting_collate():
    seen = 0

    def collate(rows):
        nonlocal seen
        seen += 1
        return hidden(collated(rows), seen)

    return collate


class DrawingCollate:
    def __init__(self):
        self.rng = np.random.default_rng(9)

    def __call__(self, rows):
        return hidden(collated(rows), self.rng.integers(5))


class CountingData(Sequences):
    """Data that changes by how often it was read."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        row = super().__getitem__(index)
        return {**row, "input_ids": row["input_ids"].roll(self.reads // 8 % 5)}


class LevelData(Sequences):
    """Data that becomes harder when it is told to."""

    level = 0

    def __getitem__(self, index):
        row = super().__getitem__(index)
        return {**row, "input_ids": row["input_ids"].roll(self.level)}


class PassingStream(Stream):
    """A stream that counts its passes."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        for row in self.rows:
            yield {**row, "input_ids": row["input_ids"].roll(self.passes)}


def augmented(rows):
    return {
        "input_ids": [np.roll(r, random.randrange(5)) for r in rows["input_ids"]],
        "labels": rows["labels"],
    }


def counting_transform():
    seen = [0]

    def transform(rows):
        seen[0] += 1
        return {
            "input_ids": [np.roll(r, seen[0] % 5) for r in rows["input_ids"]],
            "labels": rows["labels"],
        }

    return transform


def table(transform=None):
    import datasets

    rows = Sequences(96, 32, 97).tokens.tolist()
    made = datasets.Dataset.from_dict({"input_ids": rows, "labels": rows})
    if transform:
        made.set_transform(transform)
    return made


def lengths():
    import datasets

    rows = [row[: 16 + i % 16] for i, row in enumerate(Sequences(96, 32, 97).tokens.tolist())]
    return datasets.Dataset.from_dict({"input_ids": rows, "labels": rows})


def padded(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    return collated([{n: v + [0] * (longest - len(v)) for n, v in row.items()} for row in rows])


def buffered():
    import datasets

    rows = Sequences(96, 32, 97).tokens.tolist()
    made = datasets.Dataset.from_dict({"input_ids": rows, "labels": rows}).to_iterable_dataset(4)
    return made.shuffle(seed=3, buffer_size=24)


DATA = {
    "read-count": lambda: CountingData(96, 32, 97),
    "read-count-workers": lambda: CountingData(96, 32, 97),
    "curriculum": lambda: LevelData(96, 32, 97),
    "passes": lambda: PassingStream(Sequences(96, 32, 97)),
    "transform-draws": lambda: table(augmented),
    "transform-counts": lambda: table(counting_transform()),
    "grouped": lengths,
    "buffered": buffered,
}
COLLATE = {
    "collate-stream": DrawingCollate,
    "collate-global-stream": lambda: collate_with_global_stream,
    "collate-global-stream-workers": lambda: collate_with_global_stream,
    "collate-global-count": lambda: collate_with_global_count,
    "collate-global-count-workers": lambda: collate_with_global_count,
    "collate-attribute": lambda: collate_with_own_attribute,
    "collate-closure": make_counting_collate,
    "collate-partial": lambda: partial(
        lambda collate, rows: collate(rows), make_counting_collate()
    ),
    "grouped": lambda: padded,
}
