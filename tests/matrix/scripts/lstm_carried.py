"""Truncated BPTT: the hidden state is carried from chunk to chunk, everything lives in a trainer object."""

import json
import logging
import os

import torch
from torch import nn

HIDDEN, CHUNK, BATCH = 64, 16, 12
logging.basicConfig(filename="train.log", filemode="w", level=logging.INFO, format="%(message)s")
log = logging.getLogger("lstm")


class Model(nn.Module):
    def __init__(self, vocab=32):
        super().__init__()
        self.emb = nn.Embedding(vocab, 32)
        self.rnn = nn.LSTM(32, HIDDEN, num_layers=2, dropout=0.2, batch_first=True)
        self.head = nn.Linear(HIDDEN, vocab)

    def forward(self, x, state):
        y, state = self.rnn(self.emb(x), state)
        return self.head(y), state


class Trainer:
    def __init__(self):
        torch.manual_seed(5)
        gen = torch.Generator().manual_seed(17)
        steps = torch.randint(-2, 4, (BATCH, CHUNK * 40 + 1), generator=gen)
        self.text = steps.cumsum(1) % 32
        self.model = Model()
        self.opt = torch.optim.RMSprop(self.model.parameters(), lr=2e-3, momentum=0.5)
        self.sched = torch.optim.lr_scheduler.ReduceLROnPlateau(self.opt, patience=1, factor=0.7)
        self.state = None
        self.history = []
        self.seen_tokens = 0

    def chunks(self):
        for i in range(0, self.text.size(1) - 1, CHUNK):
            yield self.text[:, i : i + CHUNK], self.text[:, i + 1 : i + 1 + CHUNK]

    def epoch(self, n):
        self.state = (torch.zeros(2, BATCH, HIDDEN), torch.zeros(2, BATCH, HIDDEN))
        total = torch.zeros(())
        for count, (x, y) in enumerate(self.chunks(), 1):
            self.opt.zero_grad()
            out, state = self.model(x, self.state)
            self.state = tuple(s.detach() for s in state)
            loss = nn.functional.cross_entropy(out.flatten(0, 1), y.flatten())
            loss.backward()
            for param in self.model.parameters():
                param.grad.clamp_(-0.5, 0.5)
            self.opt.step()
            total += loss.detach()
            self.seen_tokens += y.numel()
        mean = (total / count).item()
        self.sched.step(mean)
        self.history.append({"epoch": n, "loss": mean, "tokens": self.seen_tokens})
        log.info("epoch %d loss %.6f lr %g", n, mean, self.opt.param_groups[0]["lr"])

    def run(self, epochs):
        for n in range(epochs):
            self.epoch(n)


if __name__ == "__main__":
    trainer = Trainer()
    trainer.run(18)
    os.makedirs("model", exist_ok=True)
    torch.save(trainer.model.state_dict(), "model/lstm.pt")
    torch.save(trainer.opt.state_dict(), "model/optimizer.pt")
    torch.save(trainer.state, "model/hidden.pt")
    json.dump(trainer.history, open("model/history.json", "w"), indent=1)
