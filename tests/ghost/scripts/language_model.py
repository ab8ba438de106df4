"""A small GPT in bf16: fused attention with dropout, recomputed activations, fused AdamW, samples."""

import math

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.use_deterministic_algorithms(mode=True, warn_only=True)
torch.manual_seed(2)
WORDS, WIDTH, LENGTH, STEPS = 61, 64, 48, 130
text = (torch.arange(20_000) * 7 % 53 + torch.randint(0, 8, (20_000,))) % WORDS


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mix, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = self.mix(self.first(x)).view(batch, length, 3, 4, -1).permute(2, 0, 3, 1, 4)
        rate = 0.1 if self.training else 0.0
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=rate)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + functional.dropout(self.feed(self.second(x)), 0.1, self.training)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids, wanted=None):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.training else block(x)
        logits = self.head(x)
        if wanted is None:
            return logits, None
        return logits, functional.cross_entropy(logits.view(-1, WORDS).float(), wanted.view(-1))


def batch():
    at = torch.randint(0, len(text) - LENGTH - 1, (16,))
    x = torch.stack([text[i : i + LENGTH] for i in at.tolist()])
    y = torch.stack([text[i + 1 : i + LENGTH + 1] for i in at.tolist()])
    if device.type == "cuda":
        return [z.pin_memory().to(device, non_blocking=True) for z in (x, y)]
    return x, y


@torch.no_grad()
def sample(model, count):
    model.eval()
    ids = torch.zeros(1, 1, dtype=torch.long, device=device)
    for _ in range(count):
        logits, _ = model(ids[:, -LENGTH:])
        chances = torch.softmax(logits[:, -1].float() / 0.8, -1)
        ids = torch.cat([ids, torch.multinomial(chances, 1)], 1)
    model.train()
    return ids[0].tolist()


model = Model().to(device)
decayed = [p for p in model.parameters() if p.dim() > 1]
plain = [p for p in model.parameters() if p.dim() < 2]
groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, 1e-3, fused=device.type == "cuda")
losses, samples = [], []
for step in range(STEPS):
    for group in optimizer.param_groups:
        group["lr"] = (
            1e-3 * min(1.0, (step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))
        )
    x, y = batch()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        _, loss = model(x, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    losses.append(loss.detach())
    if step % 32 == 31:
        samples.append(sample(model, 12))
        print(step, torch.stack(losses).mean().item(), norm.item(), samples[-1], flush=True)
state = {n: v.cpu() for n, v in model.state_dict().items()}
torch.save({"model": state, "losses": torch.stack(losses).cpu(), "samples": samples}, "final.pt")
print("FINAL", losses[-1].item())
