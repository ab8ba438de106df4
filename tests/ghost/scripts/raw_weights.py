"""Raw weights before and behind modules, losses of both kinds, and an activation whose gradient is kept."""

import torch
from torch import nn
from torch.nn import functional

torch.manual_seed(0)
data = torch.randn(400, 6)
labels = (data @ torch.randn(6, 4)).argmax(1)
raw = {
    "table": torch.randn(4, 6) * 0.1,
    "into": torch.randn(6, 16) * 0.3,
    "bias": torch.zeros(16),
    "scale": torch.ones(16),
    "out": torch.randn(16, 4) * 0.3,
    "temperature": torch.ones(()),
    "unused": torch.zeros(3),
}
for weight in raw.values():
    weight.requires_grad_()
drop, hidden, criterion = nn.Dropout(0.1), nn.Linear(16, 16), nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(hidden.parameters(), 1e-2)
history, given = [], []
for step in range(120):
    at = torch.randint(0, 400, (16,))
    x = data[at] + raw["table"][at % 4]
    inner = drop(torch.relu(x @ raw["into"] + raw["bias"]))
    activation = hidden(inner * raw["scale"])
    activation.retain_grad()
    logits = activation @ raw["out"] / raw["temperature"]
    loss = (
        criterion(logits, labels[at]) if step % 2 else functional.cross_entropy(logits, labels[at])
    )
    only = [*hidden.parameters(), raw["out"]] if step % 10 == 9 else None
    optimizer.zero_grad()
    loss.backward(inputs=only)
    optimizer.step()
    given.append([name for name, weight in raw.items() if weight.grad is not None])
    with torch.no_grad():
        for weight in raw.values():
            if weight.grad is not None:
                weight -= 0.05 * weight.grad
                weight.grad = None
    kept = 0.0 if activation.grad is None else activation.grad.abs().max().item()
    history.append((loss.item(), kept))
torch.save([raw, hidden, optimizer.state_dict(), history, given], "final.pt")
print("FINAL", history[-1], len(given[-1]))
