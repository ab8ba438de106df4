"""The demonstration over clouds: one job is thrown out by one provider after the other, and ends well."""

import random
import time

import anyio

from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.driver import Offer
from vaultlayer.gpu import parse
from vaultlayer.ids import JobId
from vaultlayer.job import Job
from vaultlayer.messages import OffersReply, OffersRequest
from vaultlayer.settings import Home
from vaultlayer_cli.broker import start_broker
from vaultlayer_cli.connect import session
from vaultlayer_cli.demo.director import Director, simulated
from vaultlayer_cli.demo.ledger import CloudFigures, with_ledger
from vaultlayer_cli.demo.play import LOOK_S, Plan, both, clear, end, wait_for_step
from vaultlayer_cli.demo.stage import Stage, show_offers
from vaultlayer_cli.demo.story import figures
from vaultlayer_cli.demo.uninterrupted import PINNED
from vaultlayer_cli.simulators import configure
from vaultlayer_cli.state import read_job
from vaultlayer_cli.submit import OFFERS_S, Wish

CLOUDS = ("vast", "runpod", "lambda")
GPU = "H100_80"
BOOKS_S = 150.0
"""How long the job's books may stay open: a provider must say twice that a machine is not there."""


async def play_clouds(plan: Plan) -> CloudFigures:
    """Run the demonstration and give its figures."""
    began_at = time.time()
    home = await clear(plan)
    async with simulated(plan.base / "simulators", plan.clouds) as director:
        await configure(home, director.served)
        await start_broker(home)
        try:
            return await _play(plan, home, director, began_at)
        finally:
            await end(home)


async def _play(plan: Plan, home: Home, director: Director, began_at: float) -> CloudFigures:
    stage = Stage(plan.steps, "one job, several clouds")
    async with session(home) as opened:
        offers = await _offers(opened.bus, plan)
        show_offers(offers)

        async def disturb(bus: Bus, job: JobId) -> None:
            await _throw_out(plan, stage, bus, job, director)

        wish = Wish(
            command=["python", "train.py", *plan.arguments],
            name="demo",
            gpu=parse(plan.gpu),
            providers=list(plan.clouds),
            env=dict(PINNED),
        )
        with stage:
            stage.line(f"{len(director.served)} simulated providers serve; the broker is up")
            await both(plan, stage, opened.bus, wish, disturb)
            job = await _books(opened.bus, stage)
        plain = figures(
            job,
            stage.killed_at,
            stage.seen_step,
            bare=stage.uninterrupted,
            resumed=stage.resumed,
            began_at=began_at,
            now_s=time.time(),
        )
        return with_ledger(plain, job, offers, await director.states())


async def _offers(bus: Bus, plan: Plan) -> list[Offer]:
    """Ask every provider, until each has answered once."""
    wanted = parse(plan.gpu)
    need = Wish(command=[], gpu=wanted).need
    request = OffersRequest(need=need, providers=list(plan.clouds), patient=True)
    with anyio.move_on_after(OFFERS_S):
        while True:
            reply = await bus.request(subjects.OFFERS, request, OffersReply, timeout_s=OFFERS_S)
            if {one.provider for one in reply.lists if one.offers} >= set(plan.clouds):
                return [offer for one in reply.lists for offer in one.offers]
            await anyio.sleep(LOOK_S)
    return []


async def _throw_out(plan: Plan, stage: Stage, bus: Bus, job: JobId, director: Director) -> None:
    """Let each provider but the last take its machine, at a random moment of the script's run there."""
    dice = random.Random(plan.seed + 1)
    for step in plan.kill_steps():
        await wait_for_step(stage, step)
        await anyio.sleep(dice.uniform(0.0, 0.2))
        active = (await read_job(bus, job)).active_attempt
        if active is None or not active.instance:
            continue
        stage.killed_at[active.number] = time.time()
        await director.take(active.provider, active.instance)
        stage.line(
            f"{active.provider} takes the machine of attempt {active.number}, and has no other",
            "red bold",
        )


async def _books(bus: Bus, stage: Stage) -> Job:
    """Wait until every machine is verified gone, so that the costs are final."""
    assert stage.job is not None
    job = JobId(stage.job.job)
    stage.line("done; waiting until each provider has said twice that no machine is left")
    until_s = anyio.current_time() + BOOKS_S
    found = await read_job(bus, job)
    while not found.closed and anyio.current_time() < until_s:
        await anyio.sleep(1.0)
        found = await read_job(bus, job)
    return found
