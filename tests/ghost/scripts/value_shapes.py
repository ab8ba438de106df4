"""Python follows shapes that depend on values, and iterates over a permutation that nothing names."""

import torch

torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
data = torch.randn(160, 8)
bound, history = 0.5, []
for _ in range(12):
    for index in torch.randperm(160).split(16):
        x = data[index]
        out = model(x)
        hard = x[out.squeeze(1).abs() > bound]
        bound += 0.01 if len(hard) > 6 else -0.01
        history.append((len(hard), int((out > 0).nonzero().shape[0])))
        loss = (out - x.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
torch.save(model.state_dict(), "final.pt")
print("FINAL", bound, sum(h[0] for h in history), sum(h[1] for h in history))
