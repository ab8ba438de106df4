"""HF Trainer as in the course: a small GPT-2 from its config, evaluation and saves by steps."""

import json

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed


class Patterns(torch.utils.data.Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        start = torch.randint(0, 64, (n, 1), generator=g)
        stride = torch.randint(1, 6, (n, 1), generator=g)
        self.rows = (start + stride * torch.arange(32)) % 64

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"input_ids": self.rows[i], "labels": self.rows[i].clone()}


def main():
    set_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_positions=32, n_embd=48, n_layer=2, n_head=2)
    )
    args = TrainingArguments(
        output_dir="gpt2-patterns",
        num_train_epochs=2,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        warmup_steps=20,
        weight_decay=0.01,
        logging_steps=5,
        eval_strategy="steps",
        eval_steps=100,
        save_steps=50,
        report_to="none",
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = Trainer(
        model=model, args=args, train_dataset=Patterns(900, 0), eval_dataset=Patterns(64, 1)
    )
    trainer.train()
    trainer.save_model("gpt2-patterns/final")
    torch.save(trainer.optimizer.state_dict(), "gpt2-patterns/final/optimizer.pt")
    timed = ("runtime", "per_second")
    rows = [
        {k: v for k, v in r.items() if not k.endswith(timed)}
        for r in trainer.state.log_history[:-1]
    ]
    with open("gpt2-patterns/history.json", "w") as f:
        json.dump(rows, f, indent=1, sort_keys=True)


if __name__ == "__main__":
    main()
