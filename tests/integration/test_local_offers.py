"""What this machine offers, and to whom it gives its slots and GPUs."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from standin import Make, drivers_below, first_of, order_of
from vaultlayer.driver import Need
from vaultlayer.errors import CapacityError
from vaultlayer.ids import JobId

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncGenerator[Make]:
    async with drivers_below(tmp_path) as made:
        yield made


async def test_slots_are_counted_and_freed(make: Make) -> None:
    driver = make(slots=1)
    made = await driver.create(order_of())
    other = order_of(JobId("j999999999"))
    with pytest.raises(CapacityError) as refused:
        await driver.create(other)
    assert "slots" in refused.value.why
    assert "slots" in (await driver.offers(Need())).refusal
    await driver.terminate(made.instance)
    assert (await driver.create(other)).state == "running"


async def test_without_a_gpu_this_machine_says_so(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = await make().offers(Need(gpu="A100_40", gpu_count=1))
    assert refused.refusal == "this machine has no NVIDIA GPU"
    assert refused.offers == []
    offered = await make().offers(Need())
    assert [offer.offer_id for offer in offered.offers] == ["local-cpu"]
    assert offered.manifest is not None
    assert offered.manifest.sole


def visible_gpus(tmp_path: Path, name: str) -> str:
    """Read what the first process of an instance was told."""
    environ = Path(f"/proc/{first_of(tmp_path, name).pid}/environ").read_bytes().decode()
    named = dict(word.split("=", 1) for word in environ.split("\0") if word)
    return named["CUDA_VISIBLE_DEVICES"]


async def test_a_gpu_is_given_to_one_instance_at_a_time(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, Tesla T4, 15360'\necho '1, Tesla T4, 15360'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    driver = make()
    refused = await driver.offers(Need(gpu="A100_40", gpu_count=1))
    assert refused.refusal == "this machine has T4 x2, not A100_40"
    jobs = [JobId(f"j22222222{n}") for n in range(2, 5)]
    for job in jobs[:2]:
        await driver.create(order_of(job, gpu="T4", gpu_count=1))
    seen = {visible_gpus(tmp_path, f"vl-{job}-a1") for job in jobs[:2]}
    assert seen == {"0", "1"}
    with pytest.raises(CapacityError) as full:
        await driver.create(order_of(jobs[2], gpu="T4", gpu_count=1))
    assert full.value.why == "the T4 of this machine is in use"
