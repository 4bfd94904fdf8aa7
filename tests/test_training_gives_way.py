"""A training beside people who wait: it gives its memory away and takes it back, and learns the same to the bit."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import torch
import training_world as world

from engines.devices import Device
from engines.diffusion.engine import Diffusion
from engines.engine import Work
from engines.events import Event, Finished, Progress
from engines.models.loading import reader
from engines.models.memory import Models
from engines.requests import Inpaint, Train
from engines.serving.lane import Pace
from engines.serving.pool import Pool
from engines.training import offload
from engines.training.engine import ADAM, DreamBooth
from engines.training.run import Training

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return world.data(tmp_path_factory.mktemp("data"), 1, 2, 2)


@pytest.fixture
def engine(bases: Path, tmp_path: Path) -> DreamBooth:
    return world.engine(world.house(tmp_path / "models", bases))


def weights(run: Training) -> dict[str, torch.Tensor]:
    state = run.learner.optimizer.state_dict()["state"]
    whole = {f"{i}.{name}": torch.as_tensor(v) for i, own in state.items() for name, v in own.items()}
    return {name: t.detach().clone() for name, t in (whole | run.learner.trained).items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def adam(engine: DreamBooth) -> int:
    """Bytes that the budget counts for optimizers."""
    return sum(size for role, size, _ in engine._models.held() if role == ADAM)


@pytest.mark.parametrize(
    ("mode", "method", "text_encoder"), [("normal", "full", "yes"), ("defect", "lora", "no")]
)
def test_what_is_learnt_is_the_same_to_the_bit(
    engine: DreamBooth, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    mode: str, method: str, text_encoder: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(offload, "CHUNK", 20_000)  # several parts a step
    told, files = data
    request = world.train(
        concepts=told, steps=7, mode=mode, method=method, text_encoder=text_encoder, save_every=3
    )
    plain = world.driven(engine, world.work(tmp_path / "plain", request, files))
    expected = weights(plain)
    engine.suspend(plain)
    run = engine.begin(world.work(tmp_path / "lent", request, files))
    whole = adam(engine)
    notes = []
    for tick in range(run.total):
        if tick in (0, 4):  # before the first step, when there is no state yet, and later
            assert engine.lend(run) == whole > 0
            assert adam(engine) == 0
            assert engine.lend(run) == 0, "it has no more to give"
        if tick in (2, 6):
            assert engine.reclaim(run)
            assert adam(engine) == whole
        engine.advance([run])
        assert run.note is not None
        notes.append("the memory" in run.note.en and "메모리" in run.note.ko)
    assert notes[:7] == [True, True, False, False, True, True, False]
    assert not any(notes[7:])
    assert same(weights(run), expected)
    engine.suspend(run)
    assert adam(engine) == 0


def test_halted_while_its_state_is_away_it_goes_on_exactly(
    engine: DreamBooth, data: Any, tmp_path: Path
) -> None:
    told, files = data
    request = world.train(concepts=told, steps=6, mode="normal", method="full", save_every=100)
    plain = world.driven(engine, world.work(tmp_path / "plain", request, files))
    expected = weights(plain)
    engine.suspend(plain)
    at = world.work(tmp_path / "halted", request, files)
    run = engine.begin(at)
    for _ in range(3):
        engine.advance([run])
    engine.lend(run)
    engine.advance([run])
    engine.suspend(run)
    assert not [p for p in at.folder.iterdir() if p.name.startswith("tmp")], "the file has no name"
    run = world.driven(engine, at)
    assert same(weights(run), expected)
    engine.suspend(run)


def test_it_stays_as_it_is_where_there_is_still_no_room(bases: Path, data: Any, tmp_path: Path) -> None:
    told, files = data
    engine = world.engine(world.house(tmp_path / "models", bases), budget=2**62)
    run = engine.begin(
        world.work(tmp_path / "one", world.train(concepts=told, mode="normal", method="full"), files)
    )
    engine.lend(run)
    engine._models._budget = engine._models.used + 1
    assert not engine.reclaim(run)
    engine.advance([run])
    engine._models._budget = 2**62
    assert engine.reclaim(run)
    engine.suspend(run)
    assert sum(leases for _, _, leases in engine._models.held()) == 0


async def all_of(pool: Pool, work: Work) -> list[Event]:
    async with aclosing(pool.run(work)) as events:
        return [event async for event in events]


class Logged(Diffusion):
    def __init__(self, models: Models, log: list[str]) -> None:
        super().__init__(models)
        self.log = log

    def advance(self, runs: Any) -> None:
        self.log.append("picture")
        super().advance(runs)


class LoggedTraining(DreamBooth):
    log: list[str]

    def advance(self, runs: Any) -> None:
        self.log.append("training")
        super().advance(runs)


async def test_on_a_lane_it_gives_way_within_a_step_and_gives_memory_to_who_finds_none(
    bases: Path, data: Any, tmp_path: Path
) -> None:
    """The real trainer and the real painter, in a budget that holds both, but not with the optimizer's state."""
    told, files = data
    folder = world.house(tmp_path / "models", bases)
    read = reader(folder, "cpu", "float32")
    models, log = Models(read, budget=2**62), list[str]()
    trainer = LoggedTraining(models, read, folder, sample_steps=2)
    trainer.log = log
    pool = Pool(
        {Train: lambda d: trainer, Inpaint: lambda d: Logged(models, log)},
        [Device("cpu")], pace=Pace(share=0.1, preview_every=0, credit=0),
    )  # fmt: skip
    await pool.start()
    request = world.train(concepts=told, mode="normal", method="full", steps=5000, save_every=10**5)
    notes: list[str] = []

    async def watch() -> None:
        async with aclosing(pool.run(world.work(tmp_path / "train", request, files))) as events:
            async for event in events:
                if isinstance(event, Progress) and event.note is not None:
                    notes.append(event.note.en)
                    learning.set()

    learning = asyncio.Event()
    watching = asyncio.create_task(watch())
    await learning.wait()
    wanted = read(world.INPAINT, "inpaint").pieces
    missing = sum(piece.size for piece in wanted if not models.warm(piece.hash))
    models._budget = models.used + missing - adam(trainer) // 2
    asked = Inpaint(prompt="a scratch", model=world.INPAINT, image="c0-shot0", mask="c0-shot0.mask", steps=30)
    begun = len(log)
    end = (await all_of(pool, world.work(tmp_path / "one", asked, files, 2)))[-1]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await pool.stop(10)
    assert isinstance(end, Finished), "it did not wait for the training's end"
    during = log[begun:]
    first, last = during.index("picture"), len(during) - during[::-1].index("picture")
    inside = during[first:last]
    assert inside.count("picture") == 30
    assert 1 <= inside.count("training") <= 8, "it kept its share, and no more"
    assert any("others need the memory" in note for note in notes)
