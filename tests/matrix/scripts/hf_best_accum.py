"""HF Trainer classification: accumulation, save_total_limit, load_best_model_at_end, early stopping."""

import json

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EarlyStoppingCallback,
    Trainer,
    TrainingArguments,
)

SEED = 17


def make(n, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, 90, size=(n, 20))
    labels = (ids[:, :10].sum(1) > ids[:, 10:].sum(1)).astype(int)
    ids[:, 0] = 1
    lengths = rng.integers(12, 21, size=n)
    return [
        {"input_ids": row[:k].tolist(), "attention_mask": [1] * k, "labels": int(y)}
        for row, k, y in zip(ids, lengths, labels)
    ]


def collate(rows):
    width = max(len(r["input_ids"]) for r in rows)
    return {
        "input_ids": torch.tensor(
            [r["input_ids"] + [0] * (width - len(r["input_ids"])) for r in rows]
        ),
        "attention_mask": torch.tensor(
            [r["attention_mask"] + [0] * (width - len(r["input_ids"])) for r in rows]
        ),
        "labels": torch.tensor([r["labels"] for r in rows]),
    }


def compute_metrics(pred):
    return {"accuracy": float((pred.predictions.argmax(-1) == pred.label_ids).mean())}


torch.manual_seed(SEED)
config = BertConfig(
    vocab_size=90,
    hidden_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=96,
    max_position_embeddings=32,
)
trainer = Trainer(
    model=BertForSequenceClassification(config),
    args=TrainingArguments(
        output_dir="bert-out",
        seed=SEED,
        max_steps=160,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=32,
        gradient_accumulation_steps=3,
        learning_rate=5e-4,
        lr_scheduler_type="linear",
        logging_steps=4,
        eval_strategy="steps",
        eval_steps=20,
        save_strategy="steps",
        save_steps=20,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        disable_tqdm=True,
        report_to=[],
        use_cpu=True,
    ),
    train_dataset=make(700, 1),
    eval_dataset=make(96, 2),
    data_collator=collate,
    compute_metrics=compute_metrics,
    callbacks=[EarlyStoppingCallback(early_stopping_patience=30)],
)
trainer.train()
trainer.save_model("bert-out/best")
torch.save(trainer.optimizer.state_dict(), "bert-out/best/optimizer.pt")
with open("bert-out/metrics.jsonl", "w") as f:
    for row in trainer.state.log_history[:-1]:
        row = {k: v for k, v in row.items() if "runtime" not in k and "per_second" not in k}
        f.write(json.dumps(row, sort_keys=True) + "\n")
