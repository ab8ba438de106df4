"""What GPU a simulated machine has: the one that was promised to it, or a bad surprise."""

from vaultlayer.gpu import GPUS
from vaultlayer_actors.drivers.cloud import bootstrap
from vaultlayer_actors.simulator.machine import Knobs, Machine

VARIABLE = "VAULTLAYER_SIM_GPU"


def environment_of(machine: Machine, knobs: Knobs) -> dict[str, str]:
    """Give the variable that the pretended CUDA driver reads.

    `knobs.gpu` overrides it for machines that boot from now on (see fake_cuda.py); a machine whose boot
    script is not ours has no GPU.
    """
    if knobs.gpu:
        return {VARIABLE: knobs.gpu}
    try:
        boot = bootstrap.told(machine.env, machine.script)
    except (ValueError, IndexError):
        return {}
    if boot.gpu not in GPUS:
        return {}
    memory_gb, spellings = GPUS[boot.gpu]
    name = spellings[0] if spellings else boot.gpu
    return {VARIABLE: f"NVIDIA {name}:{memory_gb * 1024}:{max(1, boot.gpu_count)}"}
