"""What `nvidia-smi` says, under our names."""

import pytest

from vaultlayer_actors.drivers.local.gpus import canonical_name, describe, parse_gpus


@pytest.mark.parametrize(
    ("product", "memory_mb", "name"),
    [
        ("NVIDIA A100-SXM4-40GB", 40960, "A100_40"),
        ("NVIDIA A100 80GB PCIe", 81920, "A100_80"),
        ("NVIDIA A100", 81920, "A100_80"),
        ("Tesla T4", 15360, "T4"),
        ("NVIDIA H100 80GB HBM3", 81559, "H100_80"),
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA GeForce RTX 4090", 24564, "RTX4090"),
        ("Tesla V100-SXM2-32GB", 32768, "V100_32"),
        ("NVIDIA Quantum 9000", 1, "Quantum 9000"),
    ],
)
def test_products_have_canonical_names(product: str, memory_mb: int, name: str) -> None:
    assert canonical_name(product, memory_mb) == name


def test_lines_of_another_shape_are_left_out() -> None:
    found = parse_gpus("0, Tesla T4, 15360\nNo devices were found\n1, Tesla T4, [N/A]\n")
    assert [(gpu.index, gpu.name, gpu.memory_mb) for gpu in found] == [
        (0, "T4", 15360),
        (1, "T4", 0),
    ]
    assert describe(found) == "T4 x2"
