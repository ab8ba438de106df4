"""IterableDataset sharded over two workers, shuffle buffer, one optimizer step per batch."""

import json
import random
from pathlib import Path

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


class Stream(IterableDataset):
    def __init__(self, shards, per_shard, buffer=64):
        self.shards, self.per_shard, self.buffer = shards, per_shard, buffer
        self.epoch = 0

    def read(self, shard):
        rng = random.Random(1000 * self.epoch + shard)
        for _ in range(self.per_shard):
            length = rng.randint(4, 12)
            tokens = [rng.randrange(1, 40) for _ in range(length)]
            yield tokens + [0] * (12 - length), sum(tokens) % 5

    def __iter__(self):
        info = get_worker_info()
        mine = range(self.shards) if info is None else range(info.id, self.shards, info.num_workers)
        hold = []
        for shard in mine:
            for item in self.read(shard):
                hold.append(item)
                if len(hold) == self.buffer:
                    yield hold.pop(random.randrange(len(hold)))
        random.shuffle(hold)
        yield from hold


def collate(items):
    tokens = torch.tensor([t for t, _ in items])
    return {"tokens": tokens, "mask": tokens > 0, "label": torch.tensor([y for _, y in items])}


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(40, 64, padding_idx=0)
        self.enc = nn.TransformerEncoderLayer(64, 4, 96, dropout=0.1, batch_first=True)
        self.out = nn.Linear(64, 5)

    def forward(self, tokens, mask):
        h = self.enc(self.emb(tokens), src_key_padding_mask=~mask)
        h = (h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.out(h)


def main():
    random.seed(6)
    torch.manual_seed(6)
    data = Stream(shards=8, per_shard=120)
    model = Bag()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3)
    out = Path("stream_out")
    out.mkdir(exist_ok=True)
    metrics = []
    for epoch in range(10):
        data.epoch = epoch
        loader = DataLoader(data, batch_size=16, num_workers=2, collate_fn=collate)
        right = seen = 0
        losses = []
        for batch in loader:
            label = batch.pop("label")
            logits = model(**batch)
            loss = nn.functional.cross_entropy(logits, label)
            loss.backward()
            opt.step()
            opt.zero_grad()
            losses.append(loss.item())
            right += int((logits.argmax(-1) == label).sum())
            seen += len(label)
        metrics.append(
            {"epoch": epoch, "loss": sum(losses) / len(losses), "accuracy": right / seen}
        )
        print(metrics[-1])
        (out / "metrics.json").write_text(json.dumps(metrics))
    torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, out / "final.pt")


if __name__ == "__main__":
    main()
