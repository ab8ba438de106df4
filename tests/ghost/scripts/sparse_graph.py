"""A graph network over sparse matrices: one of set-up, one whose values change, one of compressed rows."""

import torch

torch.manual_seed(5)
edges = torch.randint(0, 40, (2, 160))
both = torch.cat([edges, edges.flip(0)], 1)
links = torch.sparse_coo_tensor(both, torch.rand(320), (40, 40)).coalesce()
degree = torch.sparse.sum(links, 1).to_dense().clamp(min=0.1)
loose = torch.sparse_coo_tensor(edges, torch.ones(160), (40, 40))
rows = (torch.eye(40) + links.to_dense().round()).to_sparse_csr()
features, labels = torch.randn(40, 8), torch.randint(0, 3, (40,))
first, second = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)
optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], 1e-2)
kept = []
for step in range(100):
    hidden = torch.relu(torch.sparse.mm(links, first(features)) / degree[:, None])
    out = torch.sparse.mm(rows, second(hidden)) + torch.sparse.mm(loose, second(hidden))
    loss = torch.nn.functional.cross_entropy(out, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        links.values().mul_(1 - 0.01 * loss.detach().clamp(max=1))
    if step % 10 == 0:
        loose = torch.sparse_coo_tensor(edges, torch.rand(160) * loss.item(), (40, 40))
        kept.append(loss.item())
# Memory beyond the entries that are left after adding equal places up holds anything.
left = [links.indices().clone(), links.values().clone()]
torch.save([first.state_dict(), optimizer.state_dict(), left, loose, kept], "final.pt")
print("FINAL", kept[-1], links.values().sum().item())
