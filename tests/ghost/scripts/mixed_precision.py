"""A CNN in fp16 with a loss scaler, channels last, pinned batches, averaged weights, and a log of memory."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.use_deterministic_algorithms(mode=True, warn_only=True)
torch.manual_seed(1)
images = torch.randn(512, 3, 16, 16)
labels = torch.randint(0, 5, (512,))
loader = DataLoader(
    TensorDataset(images, labels),
    batch_size=32,
    shuffle=True,
    num_workers=2,
    pin_memory=device.type == "cuda",
)
model = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Dropout(0.2),
    nn.Linear(32, 5),
).to(device, memory_format=torch.channels_last)
average = {name: value.clone() for name, value in model.state_dict().items()}
optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=128)
scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda", growth_interval=40)
used_mb, took_ms = [], []
for epoch in range(8):
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
    correct = 0
    for x, y in loader:
        x = x.to(device, non_blocking=True, memory_format=torch.channels_last)
        y = y.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.float16, enabled=device.type == "cuda"):
            output = model(x)
            loss = nn.functional.cross_entropy(output, y, label_smoothing=0.1)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        correct += (output.argmax(1) == y).sum().item()
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name].mul_(0.95).add_(value.detach(), alpha=0.05)
    if device.type == "cuda":
        end.record()
        torch.cuda.synchronize()
        took_ms.append(begin.elapsed_time(end))
        used_mb.append(torch.cuda.max_memory_allocated() / 2**20)
    print(f"epoch {epoch}: {correct / 512:.3f}, scale {scaler.get_scale()}", flush=True)
torch.save(
    {
        "model": {n: v.cpu() for n, v in model.state_dict().items()},
        "average": {n: v.cpu() for n, v in average.items()},
        "scale": scaler.get_scale(),
    },
    "final.pt",
)
print("FINAL", loss.item(), len(took_ms) == len(used_mb))
