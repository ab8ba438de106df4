"""Trains a teacher, freezes it, distils it into a student: two phases, two optimizers, one script."""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def build(width, depth):
    layers, d = [], 20
    for _ in range(depth):
        layers += [nn.Linear(d, width), nn.ReLU(), nn.Dropout(0.1)]
        d = width
    return nn.Sequential(*layers, nn.Linear(d, 6))


def fit_teacher(teacher, loader, epochs, report):
    opt = torch.optim.Adam(teacher.parameters(), lr=1e-3)
    for epoch in range(epochs):
        teacher.train()
        seen = 0.0
        for x, y in loader:
            loss = F.cross_entropy(teacher(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            seen += loss.item()
        report["teacher"].append(seen / len(loader))
        print(f"teacher {epoch}: {report['teacher'][-1]:.4f}")
    return teacher


def distil(teacher, student, loader, epochs, temperature, report):
    teacher.eval()
    for p in teacher.parameters():
        p.requires_grad = False
    opt = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [epochs // 2, 3 * epochs // 4], gamma=0.3)
    for epoch in range(epochs):
        student.train()
        agree = total = 0
        for x, y in loader:
            with torch.no_grad():
                soft = teacher(x)
            out = student(x)
            kd = (
                F.kl_div(
                    F.log_softmax(out / temperature, 1),
                    F.softmax(soft / temperature, 1),
                    reduction="batchmean",
                )
                * temperature**2
            )
            loss = 0.7 * kd + 0.3 * F.cross_entropy(out, y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            agree += (out.argmax(1) == soft.argmax(1)).sum().item()
            total += len(x)
        sched.step()
        report["student"].append(agree / total)
        print(f"student {epoch}: agreement {agree / total:.4f}")
    return opt


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--teacher-epochs", type=int, default=7)
    ap.add_argument("--epochs", type=int, default=16)
    ap.add_argument("--temperature", type=float, default=3.0)
    a = ap.parse_args()
    torch.manual_seed(404)
    centers = torch.randn(6, 20) * 1.2
    y = torch.randint(0, 6, (2000,))
    x = centers[y] + torch.randn(2000, 20)
    loader = DataLoader(TensorDataset(x, y), batch_size=40, shuffle=True)
    report = {"teacher": [], "student": []}
    teacher = fit_teacher(build(256, 3), loader, a.teacher_epochs, report)
    student = build(32, 2)
    opt = distil(teacher, student, loader, a.epochs, a.temperature, report)
    out = Path("distilled")
    out.mkdir(parents=True, exist_ok=True)
    torch.save(teacher.state_dict(), out / "teacher.pth")
    torch.save(student.state_dict(), out / "student.pth")
    torch.save(opt.state_dict(), out / "optimizer.pth")
    (out / "report.json").write_text(json.dumps(report, indent=2))
