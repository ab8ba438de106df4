"""The base of cloud drivers: spacing, scrubbing, names of GPUs, prices, rest after failures."""

import anyio
import pytest

from vaultlayer.driver import Instance, Manifest, Offer, PriceParts
from vaultlayer.errors import AmbiguousCreateError, DriverError
from vaultlayer_actors.drivers.cloud.cooldown import MACHINE_S, OFFER_S, Cooldown
from vaultlayer_actors.drivers.cloud.create import create_once
from vaultlayer_actors.drivers.cloud.gpus import arch_of, canonical_gpu, variant_of
from vaultlayer_actors.drivers.cloud.limiter import Limiter, shared_limiter
from vaultlayer_actors.drivers.cloud.naming import is_ours, name_in
from vaultlayer_actors.drivers.cloud.pricing import all_in_usd_h, billed_s
from vaultlayer_actors.drivers.cloud.scrub import TEXT_MAX, scrub
from vaultlayer_actors.simulator.clock import VirtualClock

NAME = "vl-jabcdefgh2-a1"
MANIFEST = Manifest(name="cloud", visibility_s=20.0)


@pytest.mark.anyio
async def test_calls_of_one_kind_are_spaced_and_others_are_not() -> None:
    clock = VirtualClock(0.0)
    limiter = Limiter({"create": 4.5}, clock)
    for due_s in (0.0, 4.5, 9.0):
        await limiter.wait("create")
        assert clock.now_s() == due_s
    await limiter.wait("list")
    assert clock.now_s() == 9.0


@pytest.mark.anyio
async def test_any_two_calls_are_spaced_where_the_provider_counts_them_together() -> None:
    clock = VirtualClock(0.0)
    limiter = Limiter({"*": 1.0, "create": 12.0}, clock)
    for call, due_s in (("create", 0.0), ("list", 1.0), ("create", 12.0), ("get", 13.0)):
        await limiter.wait(call)
        assert clock.now_s() == due_s, call


@pytest.mark.anyio
async def test_a_held_call_waits_for_what_the_provider_asked() -> None:
    clock = VirtualClock(0.0)
    limiter = Limiter({}, clock)
    limiter.hold("list", 7.0)
    limiter.hold("list", 3.0)
    await limiter.wait("list")
    assert clock.now_s() == 7.0


@pytest.mark.anyio
async def test_waiters_share_one_limiter_a_key_and_take_turns() -> None:
    clock = VirtualClock(0.0)
    one = shared_limiter("https://a", "key", {"x": 2.0}, clock)
    assert shared_limiter("https://a", "key", {"x": 2.0}, clock) is one
    assert shared_limiter("https://a", "other", {"x": 2.0}, clock) is not one
    times: list[float] = []

    async def call() -> None:
        await one.wait("x")
        times.append(clock.now_s())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)
    assert len(times) == 3
    assert max(times) >= 4.0


@pytest.mark.parametrize(
    "text",
    [
        "bad key sk-12",
        "denied eyJhbGciOiJFZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJBQkNERUZHSElKS0xNTk9QIn0.abc",
        "env H4sIAAAAAAACA41UbW/bNhD+7l9xVYYBLQJJlJO1jQ",
    ],
)
def test_no_secret_passes_through_what_a_provider_says(text: str) -> None:
    said = scrub(text, ["sk-12"])
    assert "…" in said
    assert all(part not in said for part in ("sk-12", "eyJ", "H4sI"))


def test_what_a_provider_says_is_one_short_line() -> None:
    assert scrub("a\n  b\tc") == "a b c"
    assert len(scrub("word " * 200)) == TEXT_MAX + 1


ALIASES = {"A100 SXM4": ("A100_40", "A100_80"), "RTX 6000Ada": "RTX6000ADA"}


@pytest.mark.parametrize(
    ("spelling", "memory_gb", "name"),
    [
        ("A100 SXM4", 39.6, "A100_40"),
        ("A100 SXM4", 80.0, "A100_80"),
        ("A100 SXM4", None, None),
        ("A100 SXM4", 60.0, None),
        ("RTX 6000Ada", None, "RTX6000ADA"),
        ("RTX 6000Ada", 24.0, None),
        ("A100", None, None),
        ("A100", 80, "A100_80"),
        ("H100", 80, "H100_80"),
        ("H100", 94, "H100_94"),
        ("Tesla V100-SXM2-32GB", 32, "V100_32"),
        ("NVIDIA GeForce RTX 4090", 24, "RTX4090"),
        ("Novelty 9000", 24, None),
    ],
)
def test_a_gpu_has_its_canonical_name_only_when_it_is_certain(
    spelling: str, memory_gb: float | None, name: str | None
) -> None:
    assert canonical_gpu(spelling, memory_gb, ALIASES) == name


def test_variants_and_processors_are_told_apart() -> None:
    assert [variant_of(text) for text in ("H100 SXM", "H100 NVL", "A100 PCIE", "L4")] == [
        *("sxm", "nvl", "pcie", "")
    ]
    assert [arch_of(text) for text in ("amd64", "aarch64", "riscv")] == ["x86_64", "arm64", "riscv"]


def test_only_names_of_our_form_are_ours() -> None:
    assert is_ours(NAME)
    assert not any(is_ours(name) for name in (None, "", "vl-", "vl-job-a1", f"{NAME}x", "my-vm"))
    assert name_in(["team:x", NAME]) == NAME
    assert name_in(["team:x"]) == ""


def test_an_all_in_price_counts_disk_and_traffic() -> None:
    parts = PriceParts(machine_usd_h=1.0, disk_usd_h=0.1, ingress_usd_gb=0.01, egress_usd_gb=0.02)
    assert all_in_usd_h(parts, traffic_gb_h=10.0) == 1.4


def test_billing_counts_whole_steps_and_the_least() -> None:
    hourly = PriceParts(billing_step_s=3600.0)
    assert [billed_s(s, hourly) for s in (0, 1, 3600, 3601)] == [0, 3600, 3600, 7200]
    assert billed_s(10, PriceParts(billing_step_s=1.0, least_s=60.0)) == 60


def test_what_failed_rests_and_comes_back() -> None:
    clock = VirtualClock(0.0)
    rest = Cooldown(clock)
    offer = Offer(provider="x", offer_id="1", machine="m")
    twin = Offer(provider="x", offer_id="2", machine="m")
    rest.offer_failed(offer)
    assert (rest.left_s(offer), rest.left_s(twin)) == (OFFER_S, 0.0)
    rest.machine_failed("m")
    rest.machine_failed("")
    clock.advance(OFFER_S)
    assert rest.left_s(offer) == rest.left_s(twin) == MACHINE_S - OFFER_S
    clock.advance(MACHINE_S)
    assert rest.left_s(twin) == 0.0


class Account:
    """A provider that lists what it made only after a while."""

    def __init__(self, clock: VirtualClock, lag_s: float, *, makes: bool) -> None:
        self.clock, self.lag_s, self.makes = clock, lag_s, makes
        self.made_s: list[float] = []
        self.ended: list[str] = []
        self.resists = False

    async def make(self) -> Instance:
        if self.makes:
            self.made_s.append(self.clock.now_s())
        raise AmbiguousCreateError("lost")

    async def look(self, name: str) -> list[Instance]:
        now_s = self.clock.now_s()
        return [
            Instance(instance=f"i{number}", name=name, state="running")
            for number, made_s in enumerate(self.made_s)
            if now_s - made_s >= self.lag_s and f"i{number}" not in self.ended
        ]

    async def end(self, instance: str) -> None:
        if self.resists:
            raise DriverError("still provisioning")
        self.ended.append(instance)

    async def create(self) -> Instance:
        return await create_once(
            NAME,
            manifest=MANIFEST,
            clock=self.clock,
            make=self.make,
            look=self.look,
            end=self.end,
        )


@pytest.mark.anyio
@pytest.mark.parametrize("lag_s", [0.0, 19.0])
async def test_an_unanswered_create_is_looked_for_as_long_as_listings_lag(lag_s: float) -> None:
    clock = VirtualClock(0.0)
    account = Account(clock, lag_s, makes=True)
    assert (await account.create()).instance == "i0"
    assert clock.now_s() == pytest.approx(lag_s, abs=2.0)


@pytest.mark.anyio
async def test_a_create_that_left_nothing_is_unknown_after_the_window() -> None:
    clock = VirtualClock(0.0)
    with pytest.raises(AmbiguousCreateError):
        await Account(clock, 0.0, makes=False).create()
    assert clock.now_s() == pytest.approx(MANIFEST.visibility_s, abs=0.1)


@pytest.mark.anyio
@pytest.mark.parametrize("resists", [False, True])
async def test_duplicates_end_and_one_that_resists_stops_nothing(resists: bool) -> None:
    account = Account(VirtualClock(0.0), 0.0, makes=True)
    account.made_s = [-1.0, -1.0]
    account.resists = resists
    assert (await account.create()).instance == "i0"
    assert account.ended == ([] if resists else ["i1"])
