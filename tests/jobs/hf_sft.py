"""Supervised fine-tuning with TRL and LoRA, everything made on the spot: tokenizer, model, texts."""

# ruff: noqa: PTH123

import argparse
import hashlib
import json

import torch
from datasets import Dataset
from hf_trainer import Slow
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed
from trl import SFTConfig, SFTTrainer

WORDS = ["<pad>", "<eos>", *(f"w{n}" for n in range(60))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=16)
    given = parser.parse_args()
    set_seed(5)
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>"
    )
    config = GPT2Config(vocab_size=len(WORDS), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    texts = [" ".join(f"w{(n * k) % 60}" for k in range(1, 20)) for n in range(1, 60)]
    trainer = SFTTrainer(
        model=GPT2LMHeadModel(config),
        processing_class=fast,
        train_dataset=Dataset.from_dict({"text": texts}),
        peft_config=LoraConfig(
            r=4,
            target_modules=["c_attn"],
            lora_dropout=0.1,
            fan_in_fan_out=True,
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            output_dir="out",
            max_steps=given.steps,
            save_steps=4,
            logging_steps=1,
            max_length=32,
            per_device_train_batch_size=4,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
        ),
        callbacks=[Slow(0.03)],
    )
    trainer.train()
    digest = hashlib.sha256()
    for name, tensor in sorted(trainer.model.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    digest.update(torch.get_rng_state().numpy().tobytes())
    with open("history.json", "w") as file:
        json.dump(trainer.state.log_history, file)
    print("digest", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main()
