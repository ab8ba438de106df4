"""The demonstration over clouds: real broker and training, simulated providers whose machines are real."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.train, pytest.mark.timeout(420)]

CLOUDS = ("vast", "runpod")


def test_a_job_that_is_thrown_out_ends_elsewhere_with_the_same_weights(tmp_path: Path) -> None:
    providers = [word for name in CLOUDS for word in ("--provider", name)]
    done = subprocess.run(
        [sys.executable, "-m", "vaultlayer_cli", "demo", "--clouds", *providers, "--steps", "40",
         "--dir", str(tmp_path / "demo")],
        env={k: v for k, v in os.environ.items() if not k.startswith("VAULTLAYER_")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["hops"] == list(CLOUDS)
    assert found["identical"]
    assert found["digest_resumed"] == found["digest_uninterrupted"]
    assert found["still_billed"] == 0
    assert [row["resumed_from_step"] for row in found["attempts"]][1] >= 15
    prices = [row["price_usd_h"] for row in found["offers"]]
    assert prices == sorted(prices)
    assert {row["provider"] for row in found["offers"]} == set(CLOUDS)
    assert all(usd > 0 for usd in found["provider_usd"].values())
    assert sum(found["provider_usd"].values()) <= found["cost_usd"], (
        "our meter is never below theirs"
    )
