"""What every engine must do, whatever it makes. Subclass `Conformance` and say how to make an engine and works.

class TestDiffusion(Conformance):
    @pytest.fixture
    def engine(self): ...
    def work(self, folder, number, seed): ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engines.engine import Ends, Engine, Run, Work
from engines.events import Artifact


def finished(engine: Engine, run: Run) -> tuple[Artifact, ...]:
    """The run's files, packed here and now."""
    made = engine.finish(run)
    return made if isinstance(made, tuple) else made()


def drive(engine: Engine, runs: Sequence[Run]) -> dict[int, str]:
    """Step all runs to their end, together where keys are equal; work id → hash of the files' bytes."""
    results = {}
    left = list(runs)
    while left:
        together = [run for run in left if run.key == left[0].key]
        engine.advance(together)
        for run in [run for run in together if run.finished]:
            left.remove(run)
            results[run.work.id] = digest(finished(engine, run))
            engine.suspend(run)
    return results


def digest(artifacts: Sequence[Artifact]) -> str:
    return hashlib.sha256(b"".join(a.path.read_bytes() for a in artifacts)).hexdigest()


class Conformance:
    """The suite. Names without `test_` are what a subclass provides."""

    exact = True  # whether a batch gives the very bytes of a run alone

    def work(self, folder: Path, number: int, seed: int) -> Work:
        """A small work of at least three steps; `folder` exists. Works of any seeds may share a step."""
        raise NotImplementedError

    def spoil(self, engine: Any, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """Make the next `advance` that holds `run` raise, part of the way in. Undone by `monkeypatch.undo()`."""
        raise NotImplementedError

    def footprint(self, engine: Any) -> int:
        """What the engine holds for runs now, in any unit; 0 = nothing."""
        raise NotImplementedError

    def similar(self, alone: Sequence[Artifact], batched: Sequence[Artifact]) -> bool:
        """Whether two results are the same picture; for engines that are not `exact`."""
        return digest(alone) == digest(batched)

    @pytest.fixture
    def begin(self, engine: Engine, tmp_path: Path) -> Any:
        def begin(number: int, seed: int = 0) -> Run:
            folder = tmp_path / str(number)
            folder.mkdir(exist_ok=True)
            return engine.begin(self.work(folder, number, seed))

        return begin

    def test_a_run_goes_from_nothing_to_files_in_its_folder(self, engine: Engine, begin: Any) -> None:
        run = begin(1)
        assert run.done == 0
        assert run.total >= 3, "conformance works have at least three steps"
        for step in range(run.total):
            assert not run.finished
            engine.advance([run])
            assert run.done == step + 1
        assert run.finished
        made = finished(engine, run)
        engine.suspend(run)
        assert made
        for artifact in made:
            assert artifact.path.parent == run.work.folder
            assert artifact.path.stat().st_size > 0

    def test_the_same_work_gives_the_same_bytes(self, engine: Engine, begin: Any) -> None:
        assert drive(engine, [begin(1, seed=7)])[1] == drive(engine, [begin(2, seed=7)])[2]

    def test_another_seed_gives_another_result(self, engine: Engine, begin: Any) -> None:
        assert drive(engine, [begin(1, seed=7)])[1] != drive(engine, [begin(2, seed=8)])[2]

    def test_strangers_in_the_batch_change_nothing(self, engine: Engine, begin: Any) -> None:
        alone, mates = begin(1, seed=7), [begin(2, seed=8), begin(3, seed=7), begin(4, seed=9)]
        while not alone.finished:
            engine.advance([alone])
        solo = finished(engine, alone)
        engine.suspend(alone)
        batched: tuple[Artifact, ...] = ()
        while not mates[1].finished:
            engine.advance([run for run in mates if not run.finished])
        batched = finished(engine, mates[1])
        for run in mates:
            engine.suspend(run)
        assert digest(solo) == digest(batched) if self.exact else self.similar(solo, batched)

    def test_a_late_comer_changes_nothing(self, engine: Engine, begin: Any) -> None:
        expected = drive(engine, [begin(1, seed=7)])[1]
        first, late = begin(2, seed=3), begin(3, seed=7)
        engine.advance([first])
        results = drive(engine, [late, first])
        if self.exact:
            assert results[3] == expected

    def test_a_failed_step_moves_nobody(
        self, engine: Engine, begin: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = drive(engine, [begin(1, seed=7)])[1]
        good, bad = begin(2, seed=7), begin(3, seed=8)
        engine.advance([good])
        engine.advance([bad])
        self.spoil(engine, monkeypatch, bad)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - whatever it is, the pool must survive it
            engine.advance([good, bad])
        assert (good.done, bad.done) == (1, 1)
        monkeypatch.undo()
        engine.suspend(bad)
        assert drive(engine, [good])[2] == expected, "the failed step left a trace"

    def test_suspend_gives_everything_back(self, engine: Engine, begin: Any) -> None:
        before = self.footprint(engine)
        runs = [begin(number, seed=number) for number in range(3)]
        engine.advance(runs)
        assert self.footprint(engine) > before
        for run in runs:
            engine.suspend(run)
        assert self.footprint(engine) == before

    def test_a_packing_outlives_its_run(self, engine: Engine, begin: Any) -> None:
        expected = drive(engine, [begin(1, seed=7)])[1]
        run = begin(2, seed=7)
        while not run.finished:
            engine.advance([run])
        made = engine.finish(run)
        engine.suspend(run)
        assert digest(made if isinstance(made, tuple) else made()) == expected

    def test_a_finish_in_pieces_is_the_finish(self, engine: Engine, begin: Any) -> None:
        expected = drive(engine, [begin(1, seed=7)])[1]
        if not isinstance(engine, Ends):
            return
        run, mate, left = begin(2, seed=7), begin(3, seed=8), begin(4, seed=9)
        while not run.finished:
            engine.advance([run, left])
        ending, leaving = engine.ending(run), engine.ending(left)
        next(leaving, None)
        leaving.close()
        engine.suspend(left)
        made = None
        while made is None:
            try:
                next(ending)
                engine.advance([mate])  # others step between the pieces
            except StopIteration as end:
                made = end.value
        engine.suspend(run)
        engine.suspend(mate)
        assert digest(made if isinstance(made, tuple) else made()) == expected

    def test_a_preview_changes_nothing(self, engine: Engine, begin: Any) -> None:
        expected = drive(engine, [begin(1, seed=7)])[1]
        run = begin(2, seed=7)
        engine.advance([run])
        shown = engine.preview(run)
        assert shown is None or len(shown) > 0
        assert drive(engine, [run])[2] == expected
