"""A compiled model: the compiler keeps descriptions of tensors, which are no state."""

import torch

torch.manual_seed(8)
model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1))
fast = torch.compile(model, backend="aot_eager")
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
total = 0.0
for _ in range(100):
    loss = fast(torch.randn(64, 6)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    total += loss.item()
torch.save([model.state_dict(), optimizer.state_dict()], "final.pt")
print("FINAL", total)
