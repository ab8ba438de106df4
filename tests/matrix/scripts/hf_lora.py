"""PEFT: LoRA on a frozen, randomly initialised GPT-2 with the HF Trainer; no saves at all while it trains."""

import argparse
import json
import os

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

parser = argparse.ArgumentParser()
parser.add_argument("--rank", type=int, default=4)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--output", default="lora")
opts = parser.parse_args()


class LossFile(TrainerCallback):
    def __init__(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.path = path

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            with open(self.path, "a") as f:
                f.write(
                    json.dumps(
                        {
                            "step": state.global_step,
                            "loss": logs["loss"],
                            "lr": logs["learning_rate"],
                        }
                    )
                    + "\n"
                )


class Text(torch.utils.data.Dataset):
    def __init__(self, n=800):
        g = torch.Generator().manual_seed(9)
        self.ids = torch.randint(0, 40, (n, 6), generator=g).repeat(1, 4)

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return {"input_ids": self.ids[i], "labels": self.ids[i]}


set_seed(2)
base = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_positions=24, n_embd=64, n_layer=2, n_head=4))
model = get_peft_model(
    base,
    LoraConfig(
        r=opts.rank,
        lora_alpha=16,
        lora_dropout=0.1,
        target_modules=["c_attn"],
        task_type="CAUSAL_LM",
    ),
)
model.print_trainable_parameters()
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=opts.output,
        max_steps=opts.steps,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        save_strategy="no",
        logging_steps=2,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    ),
    train_dataset=Text(),
    callbacks=[LossFile(f"{opts.output}/loss.jsonl")],
)
trainer.train()
model.save_pretrained(f"{opts.output}/adapter")
torch.save(trainer.optimizer.state_dict(), f"{opts.output}/optimizer.pt")
