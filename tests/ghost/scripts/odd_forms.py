"""Counters in `forward`, evaluation in inference mode, sparse gradients, all in one."""

import torch


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(50, 8, sparse=True)
        self.top = torch.nn.Linear(8, 3)
        self.calls = 0
        self.is_warm = None

    def forward(self, x):
        self.calls += self.training
        self.is_warm = True if self.calls > 12 else None
        return self.top(self.table(x)).sum(1)


torch.manual_seed(2)
model = Words()
sparse = torch.optim.SparseAdam(model.table.parameters(), 1e-2)
dense = torch.optim.Adam(model.top.parameters(), 1e-2)
scores = []
for _ in range(100):
    x = torch.randint(0, 50, (16, 5))
    loss = torch.nn.functional.cross_entropy(model(x), x[:, 0] % 3)
    if model.calls % 7 == 0 and model.is_warm:
        loss = loss * 0.5
    sparse.zero_grad()
    dense.zero_grad()
    loss.backward()
    sparse.step()
    dense.step()
    if model.calls % 10 == 0:
        model.eval()
        with torch.inference_mode():
            out = model(x)
            scores.append((model.calls, (out.argmax(1) == x[:, 0] % 3).float().mean().item()))
        model.train()
torch.save([model.state_dict(), sparse.state_dict()], "final.pt")
print("FINAL", scores)
