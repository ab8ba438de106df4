"""Steps by hand that also use the gradients of the step before, which a list keeps."""

import hashlib

import torch

torch.manual_seed(4)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
before = [torch.zeros_like(p) for p in model.parameters()]
for _ in range(120):
    x = torch.randn(16, 8)
    loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
    loss.backward()
    now = [p.grad for p in model.parameters()]
    with torch.no_grad():
        for p, new, old in zip(model.parameters(), now, before):
            p -= 0.02 * (new + 0.5 * old)
            p.grad = None
    before = now
weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
print("FINAL", hashlib.sha256(weights).hexdigest())
