"""Figures and health on a port: true to what happened, and an ill studio says so."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from bot.app import studio
from bot.metrics import Measured, Metrics, shown
from bot.settings.config import Config
from bot.settings.sections import Metrics as Port
from bot.talk import Invocation, Message, Person, Place
from engines.engine import Work
from engines.events import Event, Failed, Finished, Started
from engines.requests import Txt2Img
from engines.words import Words
from storage.store import Store


class Devices:
    """What the metrics read of a pool: one run that ends as told."""

    def __init__(self, end: Event) -> None:
        self.end, self.lives = end, True

    async def run(self, work: Work) -> AsyncGenerator[Event, None]:
        yield Started("cpu")
        yield self.end

    def room(self, *, newcomers: bool = False) -> int:
        return 3

    def running(self) -> list[object]:
        return []

    def alive(self) -> dict[str, bool]:
        return {"cpu": self.lives}


@pytest.mark.parametrize(
    ("end", "how"), [(Finished((), 2.5), "finished"), (Failed(Words("no", "안 됨"), "memory"), "memory")]
)
async def test_a_run_is_counted_by_how_it_ended(tmp_path: Path, end: Event, how: str) -> None:
    pool = Devices(end)
    async with await Store.open(tmp_path) as store:
        metrics = Metrics(store, pool)  # type: ignore[arg-type]
        work = Work(1, "p", Txt2Img(prompt="x"), tmp_path)
        async with aclosing(Measured(pool, metrics).run(work)) as events:  # type: ignore[arg-type]
            assert [type(e) for e in [e async for e in events]] == [Started, type(end)]
        text = (await metrics.text()).decode()
    assert f'studio_runs_ended_total{{command="txt2img",how="{how}"}} 1.0' in text
    assert "studio_pool_room 3.0" in text
    assert ('studio_device_seconds_sum{command="txt2img"} 2.5' in text) == (how == "finished")


async def test_health_says_what_is_ill(tmp_path: Path) -> None:
    pool = Devices(Finished((), 1.0))
    async with await Store.open(tmp_path) as store:
        metrics = Metrics(store, pool)  # type: ignore[arg-type]
        async with shown(metrics, "127.0.0.1", 0) as port, aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/health") as well:
                assert (well.status, json.loads(await well.text())) == (200, {"ok": True, "why": ""})
            pool.lives = False
            async with client.get(f"http://127.0.0.1:{port}/health") as ill:
                assert ill.status == 503
                assert "cpu" in (await ill.json())["why"]
            metrics.heard(Message("refused", "no", command="inpaint"), 0.002)
            async with client.get(f"http://127.0.0.1:{port}/metrics") as figures:
                text = await figures.text()
                assert figures.headers["Content-Type"].startswith("text/plain")
    assert 'studio_heard_total{answer="refused",command="inpaint"} 1.0' in text
    assert 'studio_first_answer_seconds_bucket{le="0.003"} 1.0' in text


async def test_the_studio_shows_what_it_heard(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = Config(data=tmp_path, metrics=Port(port=port))
    async with studio(config, []) as open_, aiohttp.ClientSession() as client:
        person, place = Person("console:kim", "Kim"), Place("console", "tty")
        await open_.desk.hear(Invocation("k1", person, place, "en", text="/language"))
        async with client.get(f"http://127.0.0.1:{port}/metrics") as figures:
            text = await figures.text()
    assert 'studio_heard_total{answer="said",command="language"} 1.0' in text
    assert "studio_event_loop_lag_seconds_count" in text


async def test_a_taken_port_costs_the_figures_only(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config(data=tmp_path, metrics=Port(port=taken.getsockname()[1]))
        async with studio(config, []) as open_:
            person, place = Person("console:kim", "Kim"), Place("console", "tty")
            said = await open_.desk.hear(Invocation("k1", person, place, "en", text="/language"))
            assert said.kind == "said"
