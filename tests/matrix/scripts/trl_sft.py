"""TRL's SFTTrainer with LoRA on tokenised conversations."""

import json

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed
from trl import SFTConfig, SFTTrainer

WORDS = "the a cat dog bird sees eats finds small big red green fish tree stone and then".split()

set_seed(33)
vocab = {w: i for i, w in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
tok = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
tok.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=tok, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
)

g = torch.Generator().manual_seed(1)
rows = [
    {
        "text": " ".join(
            WORDS[i]
            for i in torch.randint(
                0, len(WORDS), (int(torch.randint(6, 18, (1,), generator=g)),), generator=g
            ).tolist()
        )
    }
    for _ in range(640)
]
model = GPT2LMHeadModel(
    GPT2Config(
        vocab_size=len(vocab),
        n_positions=32,
        n_embd=64,
        n_layer=2,
        n_head=4,
        bos_token_id=1,
        eos_token_id=1,
    )
)
trainer = SFTTrainer(
    model=model,
    args=SFTConfig(
        output_dir="sft",
        max_steps=200,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        learning_rate=2e-3,
        max_length=32,
        logging_steps=2,
        save_steps=40,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
    ),
    train_dataset=Dataset.from_list(rows),
    processing_class=tokenizer,
    peft_config=LoraConfig(
        r=4,
        lora_alpha=8,
        lora_dropout=0.05,
        target_modules=["c_attn", "c_proj"],
        task_type="CAUSAL_LM",
    ),
)
trainer.train()
trainer.save_model("sft/final")
torch.save(trainer.optimizer.state_dict(), "sft/final/optimizer.pt")
json.dump(
    [{"step": r["step"], "loss": r["loss"]} for r in trainer.state.log_history if "loss" in r],
    open("sft/loss.json", "w"),
)
