"""Optimises an image, not a network: a fixed random net is matched, with jitter and total variation."""

import os

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(58)
features = nn.Sequential(
    nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 24, 3, stride=2), nn.ReLU()
).eval()
for p in features.parameters():
    p.requires_grad_(False)


def gram(f):
    f = f.flatten(2)
    return f @ f.transpose(1, 2) / f.size(2)


style = F.interpolate(torch.rand(1, 3, 6, 6), size=(48, 48), mode="bilinear")
content = torch.sin(torch.arange(48.0))[None, None, None].expand(1, 3, 48, 48) * 0.5 + 0.5
target_gram, target_content = gram(features(style)), features(content)
image = torch.rand(1, 3, 48, 48, requires_grad=True)
optimizer = torch.optim.Adam([image], lr=0.03, betas=(0.9, 0.99))
os.makedirs("style", exist_ok=True)
with open("style/loss.txt", "w") as log:
    for i in range(900):
        dy, dx = torch.randint(-2, 3, (2,)).tolist()
        shifted = torch.roll(image, (dy, dx), (2, 3))
        out = features(shifted)
        tv = (image[..., 1:] - image[..., :-1]).abs().mean() + (
            image[..., 1:, :] - image[..., :-1, :]
        ).abs().mean()
        loss = 50 * F.mse_loss(gram(out), target_gram) + F.mse_loss(out, target_content) + 0.05 * tv
        optimizer.zero_grad()
        loss.backward()
        image.grad /= image.grad.norm() + 1e-12
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        if i % 25 == 0:
            log.write(f"{i} {loss.item()!r} {tv.item()!r}\n")
            log.flush()
torch.save(image.detach(), "style/image.pt")
torch.save(optimizer.state_dict(), "style/adam.pt")
