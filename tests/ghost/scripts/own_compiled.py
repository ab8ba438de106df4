"""A model and a loss of the script's own, compiled, with a break in the graph."""

import torch

torch.manual_seed(8)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(6, 8)
        self.last = torch.nn.Linear(8, 1)

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        torch._dynamo.graph_break()
        return self.last(hidden)


@torch.compile(backend="aot_eager")
def penalised(output, weight):
    return output.pow(2).mean() + 1e-3 * weight.abs().sum()


model = Net()
fast = torch.compile(model, backend="aot_eager")
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
total = 0.0
for step in range(100):
    loss = penalised(fast(torch.randn(64 if step % 7 else 32, 6)), model.last.weight)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    total += loss.item()
torch.save([model.state_dict(), optimizer.state_dict()], "final.pt")
print("FINAL", total)
