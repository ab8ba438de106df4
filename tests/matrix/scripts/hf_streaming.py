"""HF Trainer on a streaming IterableDataset of `datasets`, shuffled with a buffer."""

import json

import torch
from datasets import IterableDataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed


def read(shards):
    for shard in shards:
        g = torch.Generator().manual_seed(shard)
        for _ in range(300):
            a, b = torch.randint(1, 30, (2,), generator=g).tolist()
            row = [(a + b * k) % 50 for k in range(24)]
            yield {"input_ids": row, "labels": row}


set_seed(5)
data = IterableDataset.from_generator(read, gen_kwargs={"shards": list(range(6))}).shuffle(
    seed=3, buffer_size=64
)
model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=24, n_embd=48, n_layer=2, n_head=3))
args = TrainingArguments(
    output_dir="stream-gpt2",
    max_steps=330,
    per_device_train_batch_size=4,
    learning_rate=2e-3,
    lr_scheduler_type="cosine",
    save_steps=40,
    save_total_limit=3,
    logging_steps=1,
    report_to="none",
    use_cpu=True,
)
trainer = Trainer(model=model, args=args, train_dataset=data)
trainer.train()
trainer.save_model("stream-gpt2/final")
torch.save(trainer.optimizer.state_dict(), "stream-gpt2/final/optimizer.pt")
json.dump(trainer.state.log_history[:-1], open("stream-gpt2/log.json", "w"), sort_keys=True)
