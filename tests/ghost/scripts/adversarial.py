"""A GAN, two optimizers whose state lives on the device, value-dependent choices, sums over subsets."""

import torch
from torch import nn

on_gpu = torch.cuda.is_available()
device = torch.device("cuda" if on_gpu else "cpu")
torch.use_deterministic_algorithms(mode=True, warn_only=True)
torch.manual_seed(5)
real = torch.randn(4096, 2, device=device) * 0.3 + torch.tensor([1.0, -1.0], device=device)
generator = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2)).to(device)
critic = nn.Sequential(nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)).to(device)
more = {"capturable": True} if on_gpu else {}
makes = torch.optim.Adam(generator.parameters(), 1e-3, betas=(0.5, 0.9), foreach=True, **more)
judges = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.9), **more)
noise = torch.Generator(device=device).manual_seed(6)
seen, history = torch.zeros(2, 2, device=device), []
for _ in range(110):
    chosen = real[torch.randint(0, len(real), (64,), device=device)]
    made = generator(torch.randn(64, 8, device=device, generator=noise))
    scores = critic(chosen), critic(made.detach())
    lost = torch.relu(1 - scores[0]).mean() + torch.relu(1 + scores[1]).mean()
    judges.zero_grad(set_to_none=True)
    lost.backward()
    judges.step()
    bad = made[critic(made).squeeze(1) < 0]
    if bad.shape[0] > 4:
        seen += bad.detach().T @ bad.detach() / bad.shape[0]
    cells = torch.unique((made.detach() * 2).long(), dim=0)
    fooled = -critic(made).mean() + 0.01 * bad.square().sum() / 64
    makes.zero_grad(set_to_none=True)
    fooled.backward()
    makes.step()
    history.append((lost.item(), len(cells), int((scores[1] > 0).sum())))
torch.save([m.cpu().state_dict() for m in (generator, critic)], "nets.pt")
torch.save({"seen": seen.cpu(), "history": history}, "rest.pt")
print("FINAL", history[-1])
