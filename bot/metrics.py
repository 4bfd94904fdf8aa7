"""What is measured, for Prometheus, and whether all is well: one optional port on this machine.

`/metrics` in Prometheus's text form; `/health` is 200 while the database answers and every device's thread lives,
503 with the reason otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from bot.talk import Message
from engines.engine import Work
from engines.events import Event, Failed, Finished
from engines.serving.serves import Serves
from engines.words import Words
from storage.store import Store

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

BEAT = 0.5  # seconds between two looks at the event loop's lag
PATIENCE = 5.0  # seconds the database may take before it counts as not well
SHORT = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
LONG = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000)


class Metrics:
    """The studio's figures since it started. Mutable; touched by the event loop alone."""

    def __init__(self, store: Store, pool: Serves) -> None:
        self._store, self._pool = store, pool
        self.registry = CollectorRegistry()
        to = self.registry
        self._heard = Counter(
            "studio_heard", "Sayings by command and first answer", ("command", "answer"), registry=to
        )
        self._answered = Histogram(
            "studio_first_answer_seconds", "From hearing to the first answer", buckets=SHORT, registry=to
        )
        self._ended = Counter(
            "studio_runs_ended", "Runs by command and how they ended", ("command", "how"), registry=to
        )
        self._seconds = Histogram(
            "studio_device_seconds",
            "Time of a finished run on its device",
            ("command",),
            buckets=LONG,
            registry=to,
        )
        self._lag = Histogram(
            "studio_event_loop_lag_seconds", "How late the event loop wakes", buckets=SHORT, registry=to
        )
        self._queued = Gauge("studio_queued_jobs", "Jobs waiting", registry=to)
        self._held = Gauge("studio_held_runs", "Runs on a device", ("device", "stage"), registry=to)
        self._free = Gauge("studio_pool_room", "How many more jobs the devices would take", registry=to)

    def heard(self, message: Message, seconds: float) -> None:
        """A first answer was given."""
        self._heard.labels(message.command or "-", message.kind).inc()
        self._answered.observe(seconds)

    def ended(self, command: str, event: Finished | Failed) -> None:
        """A run is over."""
        if isinstance(event, Finished):
            self._seconds.labels(command).observe(event.seconds)
        self._ended.labels(command, "finished" if isinstance(event, Finished) else event.code).inc()

    async def serve(self, host: str, port: int) -> None:
        """Measure until cancelled, and show it where `port` is not 0. A port that is taken costs the figures only."""
        try:
            async with shown(self, host, port) if port else nullcontext():
                await self._beat()
        except OSError as error:
            log.error("no metrics on %s:%d: %s", host, port, error)

    async def _beat(self) -> None:
        while True:
            due = time.monotonic() + BEAT
            await asyncio.sleep(BEAT)
            self._lag.observe(max(0.0, time.monotonic() - due))

    async def text(self) -> bytes:
        """Everything in Prometheus's text form."""
        self._queued.set(await self._store.jobs.queued())
        self._free.set(self._pool.room())
        self._held.clear()
        for held in self._pool.running():
            self._held.labels(held.device, held.stage).inc()
        return generate_latest(self.registry)

    async def ill(self) -> Words | None:
        """What is not well; None where all is."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._store.jobs.queued()
        except Exception as error:
            return _DATABASE(why=f"{type(error).__name__}: {error}"[:200])
        dead = [name for name, alive in self._pool.alive().items() if not alive]
        return _DEVICES(names=", ".join(dead)) if dead else None


class Measured:
    """A pool whose runs are counted as they end."""

    def __init__(self, pool: Serves, metrics: Metrics) -> None:
        self._pool, self._metrics = pool, metrics

    def hold(self, job: int) -> None:
        self._pool.hold(job)

    def room(self, *, newcomers: bool = False) -> int:
        return self._pool.room(newcomers=newcomers)

    async def run(self, work: Work) -> AsyncGenerator[Event, None]:
        async with aclosing(self._pool.run(work)) as events:
            async for event in events:
                if isinstance(event, Finished | Failed):
                    self._metrics.ended(type(work.request).name, event)
                yield event


@asynccontextmanager
async def shown(metrics: Metrics, host: str, port: int) -> AsyncGenerator[int, None]:
    """Serve both addresses; gives the port (another one than asked for where 0 was asked for)."""
    from aiohttp import web

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=await metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_: web.Request) -> web.Response:
        ill = await metrics.ill()
        return web.json_response(
            {"ok": ill is None, "why": ill.en if ill else ""}, status=503 if ill else 200
        )

    app = web.Application()
    app.add_routes([web.get("/metrics", figures), web.get("/health", health)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        taken: int = runner.addresses[0][1]
        log.info("metrics and health on http://%s:%d", host, taken)
        yield taken
    finally:
        await runner.cleanup()


_DATABASE = Words("The database does not answer: {why}", "데이터베이스가 응답하지 않습니다: {why}")
_DEVICES = Words("The thread of {names} has died.", "{names} 장치의 스레드가 멈췄습니다.")
