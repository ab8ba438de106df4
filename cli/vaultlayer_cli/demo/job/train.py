"""Train a small GPT-2 on sentences that the script makes up itself."""

import argparse
import random

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

WORDS = ["the", "cat", "dog", "sees", "a", "small", "red", "house", "runs", "far", "away", "tree"]


class Sentences(Dataset):
    """Sentences of random words, as byte tokens."""

    def __init__(self, count, length):
        dice = random.Random(7)
        self.rows = []
        for _ in range(count):
            text = " ".join(dice.choice(WORDS) for _ in range(length))
            self.rows.append(torch.tensor(list(text.encode())[:length]))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--save-steps", type=int, default=15)
    parser.add_argument("--out", default="out")
    args = parser.parse_args()

    set_seed(1234)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=128, n_positions=128, n_embd=128, n_layer=4, n_head=4)
    )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=args.out,
            max_steps=args.steps,
            per_device_train_batch_size=16,
            learning_rate=5e-4,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            logging_steps=5,
            save_steps=args.save_steps,
            save_total_limit=2,
            report_to=[],
            seed=1234,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=Sentences(2000, 96),
    )
    trainer.train()
    trainer.save_model(args.out + "/final")
    print("done")


if __name__ == "__main__":
    main()
