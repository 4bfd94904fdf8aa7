"""Compose the studio: store, pictures, pool, desk, dispatcher, outbox and platforms, in one TaskGroup, and a clean stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from bot.answers.outbox import Outbox
from bot.desk import Desk
from bot.dispatcher import Dispatcher
from bot.many import batches
from bot.metrics import Measured, Metrics
from bot.pictures.reading import PictureReader
from bot.settings.config import Config
from bot.talk import Platform
from bot.waiting import Forecast
from engines.background.outline import Outliner
from engines.models import catalogue
from engines.models.catalogue import Model
from engines.serving.serves import Serves
from engines.studio import open_pool
from engines.words import Refusal
from storage.store import Store

log = logging.getLogger(__name__)

GRACE = 7.0  # seconds for the step in hand and its checkpoint; the promise is to be gone within 10


@dataclass(frozen=True, slots=True)
class Studio:
    """The running parts, for whoever composed them."""

    store: Store
    desk: Desk
    pool: Serves


def known(config: Config) -> list[Model]:
    """Every model that can be asked for under this configuration."""
    settings = config.engine_settings()
    return catalogue.known(settings.models, settings.model_paths)


@asynccontextmanager
async def studio(
    config: Config, platforms: Sequence[Platform], pool: Serves | None = None
) -> AsyncIterator[Studio]:
    """Everything running inside the `async with`; on leaving, the step in hand ends and nothing is lost.

    `pool` stands in for the configured one (the kill tests bring their own engine). Raises `storage.Locked`
    when another process has the data folder.
    """
    pool = pool or open_pool(config.engine_settings())
    async with await Store.open(config.data) as store, PictureReader(config.picture_limits()) as reader:
        await asyncio.to_thread(batches.clear, config.data)
        await pool.start()
        parts = _composed(config, platforms, pool, store, reader)
        listening = {p.name for p in platforms}
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(part) for part in parts.work]
            running += [tasks.create_task(_listen(p, parts.desk, listening)) for p in platforms]
            try:
                yield Studio(store, parts.desk, pool)
            finally:  # the pool first, so that what runs is put back in the queue as stopped, not crashed
                await pool.stop(GRACE)
                for task in running:
                    task.cancel()


@dataclass(frozen=True, slots=True)
class _Parts:
    """The desk, and what runs beside it."""

    desk: Desk
    work: tuple[Coroutine[Any, Any, None], ...]


def _composed(
    config: Config, platforms: Sequence[Platform], pool: Serves, store: Store, reader: PictureReader
) -> _Parts:
    weights = {name: department.weight for name, department in config.departments.items()}
    devices = max(len(pool.alive()), 1)
    forecast = Forecast(store, clock=time.time, slots=pool.width, devices=devices, weights=weights)
    outbox = Outbox(store, {p.name: p for p in platforms}, shrink=reader.shrink, forecast=forecast)
    metrics = Metrics(store, pool)
    dispatcher = Dispatcher(
        store,
        Measured(pool, metrics),
        outbox,
        width=pool.width,
        keep=config.history.keep_days * 86400.0,
        weights=weights,
        forecast=forecast,
    )
    desk = Desk(
        store,
        reader,
        dispatcher,
        outbox,
        config.desk_settings(),
        models=lambda: known(config),
        heard=metrics.heard,
        devices=pool.status,
        forecast=forecast,
        outline=Outliner(config.models_folder).outline,
    )
    serving = metrics.serve(config.metrics.host, config.metrics.port)
    return _Parts(desk, (dispatcher.run(), outbox.run(), serving))


async def _listen(platform: Platform, desk: Desk, listening: set[str]) -> None:
    """Serve one platform. One that refuses us (a wrong token) is left out while another one listens."""
    try:
        await platform.serve(desk)
    except Refusal as refusal:
        listening.discard(platform.name)
        if not listening:
            raise
        log.error("%s is left out: %s", platform.name, refusal.words.en)


async def serve(config: Config, platforms: Sequence[Platform], pool: Serves | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with studio(config, platforms, pool):
        log.info("open on %s", ", ".join(p.name for p in platforms))
        await stop.wait()
        log.info("closing")
    with suppress(ValueError, RuntimeError):
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
