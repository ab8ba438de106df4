"""What this machine has, what of it is free, and what it therefore offers."""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from vaultlayer.driver import Need, Offer
from vaultlayer_actors.drivers.local.gpus import Gpu, describe, find_gpus
from vaultlayer_actors.drivers.local.instances import Intent

GPUS_S = 60.0
"""How long the list of GPUs is believed."""


class Machine:
    """This machine as goods: slots, processors, memory, GPUs."""

    def __init__(self, *, root: Path, slots: int, price_usd_h: float) -> None:
        self._root = root
        self._slots = slots
        self._price_usd_h = price_usd_h
        self._gpus: list[Gpu] = []
        self._gpus_at = float("-inf")

    def gpus(self) -> list[Gpu]:
        """List the GPUs, seen within the last minute."""
        if time.monotonic() - self._gpus_at > GPUS_S:
            self._gpus, self._gpus_at = find_gpus(), time.monotonic()
        return self._gpus

    def free_gpus(self, name: str, intents: Mapping[str, Intent]) -> list[int]:
        """Give the indices of the GPUs of that name that no instance has."""
        taken = {index for intent in intents.values() for index in intent.gpus}
        return [gpu.index for gpu in self.gpus() if gpu.name == name and gpu.index not in taken]

    def shortage(self, gpu: str, gpu_count: int, intents: Mapping[str, Intent]) -> str:
        """Say what is missing for one more instance beside `intents`; empty when nothing is."""
        if len(intents) >= self._slots:
            return f"all {self._slots} slots of this machine are in use"
        if gpu and len(self.free_gpus(gpu, intents)) < max(1, gpu_count):
            return f"the {gpu} of this machine is in use"
        return ""

    def refusal(self, need: Need, intents: Mapping[str, Intent]) -> str:
        """Say why this machine cannot serve a need now; empty when it can."""
        if need.image:
            return "this machine runs jobs without container images"
        count = max(1, need.gpu_count)
        if need.gpu and not self.gpus():
            return "this machine has no NVIDIA GPU"
        if need.gpu and sum(gpu.name == need.gpu for gpu in self.gpus()) < count:
            asked = f"{need.gpu} x{count}" if count > 1 else need.gpu
            return f"this machine has {describe(self.gpus())}, not {asked}"
        return self.shortage(need.gpu, count, intents)

    def offer(self, need: Need) -> Offer:
        """Offer this machine for a need that it does not refuse."""
        count = max(1, need.gpu_count) if need.gpu else 0
        return Offer(
            provider="local",
            offer_id=f"local-{need.gpu}-{count}" if need.gpu else "local-cpu",
            gpu=need.gpu,
            gpu_count=count,
            price_usd_h=self._price_usd_h,
            region="here",
            cpus=_cpus(),
            memory_b=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            disk_b=shutil.disk_usage(self._root).free,
            detail=self._detail(need),
        )

    def _detail(self, need: Need) -> str:
        if need.gpu or not self.gpus():
            return "this machine"
        return f"this machine, CPU only; --gpu {self.gpus()[0].name} asks for its {describe(self.gpus())}"


def _cpus() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
