"""Cleaning up: every byte outside the mask stays, strangers share steps, and what cannot be meant is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cleanup_world import SPECKS, Studio, noise, opened
from compose_world import MODES, mask_of, photo_of, reach
from engine_conformance import Conformance, drive, finished
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from toy_engine import CPU

from engines import compose, recipe
from engines.cleaning import menders
from engines.cleaning.engine import Cleaner, Cleaning
from engines.engine import Work
from engines.events import Artifact, Event, Finished
from engines.requests import Cleanup
from engines.serving.pool import Pool
from engines.words import Refusal

pytestmark = pytest.mark.usefixtures("one_thread_throughout")


class _Common(Conformance):
    model = ""

    def work(self, folder: Path, number: int, seed: int) -> Work:
        files = {f"photo{seed}": folder / "photo.png", "mask": folder / "mask.png"}
        photo_of("RGB", 1200, 300, seed).save(files[f"photo{seed}"])
        mask_of(1200, 300, *SPECKS).save(files["mask"])
        request = Cleanup(image=f"photo{seed}", mask="mask", model=self.model)
        return Work(number, "kim", request, folder, files)

    def spoil(self, engine: Any, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
        def broken(*_: Any) -> None:
            raise RuntimeError("spoilt")

        monkeypatch.setattr(type(run.mender), "mend", broken)

    def footprint(self, engine: Any) -> int:
        return sum(leases for _, _, leases in engine._models.held())


class TestOpenCV(_Common):
    model = "cv2"

    @pytest.fixture
    def engine(self, cv2: Studio) -> Cleaner:
        return cv2.engine


class TestLaMa(_Common):
    model = "big-lama"
    exact = False  # a convolution's rounding may depend on the size of the batch

    @pytest.fixture
    def engine(self, lama: Studio) -> Cleaner:
        return lama.engine

    def similar(self, alone: Sequence[Artifact], batched: Sequence[Artifact]) -> bool:
        one, other = (np.asarray(opened(made[0])).astype(int) for made in (alone, batched))
        return one.shape == other.shape and bool(np.abs(one - other).max() <= 1)


# -- what stays -------------------------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn) -> tuple[Image.Image, Image.Image, dict[str, Any]]:
    width, height = draw(st.integers(1, 700)), draw(st.integers(1, 200))
    side = st.one_of(st.integers(1, 9), st.integers(1, 80))
    boxes = [
        (draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1)), draw(side), draw(side))
        for _ in range(draw(st.integers(1, 6)))
    ]
    options = {
        "grow": draw(st.integers(0, 12)),
        "feather": draw(st.integers(0, 12)),
        "invert": draw(st.integers(0, 9)) == 0,
    }
    mode = draw(st.sampled_from(MODES))
    return photo_of(mode, width, height, draw(st.integers(0, 9))), mask_of(width, height, *boxes), options


@given(case=cases(), model=st.sampled_from(["noise", "cv2"]))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_everything_outside_the_grown_and_feathered_mask_is_untouched(
    tmp_path_factory: pytest.TempPathFactory,
    case: tuple[Image.Image, Image.Image, dict[str, Any]],
    model: str,
) -> None:
    photo, mask, options = case
    read = noise if model == "noise" else menders.reader(None, "cpu")
    try:
        result = Studio(tmp_path_factory.mktemp("w"), read).clean(photo, mask, **options)
    except Refusal:  # nothing is left to fill it from, or nothing is white
        white = reach(mask, options)
        assert white.all() or not white.any()
        return
    assert (result.mode, result.size) == (photo.mode, photo.size)
    before, after = np.asarray(photo), np.asarray(result)
    changed = before != after
    if changed.ndim == 3:
        assert not changed[..., 3:].any(), "alpha is kept"
        changed = changed.any(axis=2)
    assert not (changed & ~reach(mask, options)).any()
    if model == "noise":  # all that is white is new, wherever it lies: 1 in 256 is new by chance the same
        white = compose.bits(mask, invert=options["invert"])
        assert changed[white].mean() > 0.9 or white.sum() < 50


def test_what_is_cleaned_looks_like_its_surroundings(cv2: Studio) -> None:
    """A scratch on a slope of grey is gone to a level or two, in every mode."""
    slope = np.tile(np.linspace(40, 200, 400), (300, 1))
    scratched = slope.copy()
    scratched[100:104, 50:350] = 250
    mask = mask_of(400, 300, (50, 100, 300, 4))
    for mode, scale in (("L", 1), ("RGB", 1), ("RGBA", 1), ("I;16", 257)):
        photo = compose.image_of((scratched * scale).astype(np.uint16), "I;16")
        if mode != "I;16":
            photo = Image.fromarray(scratched.astype(np.uint8)).convert(mode)
        made = np.asarray(cv2.clean(photo, mask)).astype(float) / scale
        off = np.abs((made if made.ndim == 2 else made[..., 0]) - slope)
        assert off.max() <= 3, mode


def test_results_tell_how_they_were_made(cv2: Studio, tmp_path: Path) -> None:
    work = cv2.work(photo_of("RGB", 64, 48), mask_of(64, 48, (5, 5, 4, 4)), model="")
    run = cv2.engine.begin(work)
    cv2.engine.advance([run])
    (made,) = finished(cv2.engine, run)
    assert (made.width, made.height, made.media) == (64, 48, "image/png")
    told = recipe.read(made.path.read_bytes())
    assert told is not None
    assert (told["command"], told["model"]) == ("cleanup", "cv2")
    assert told["request"]["model"] == "cv2", "the default's name is kept, in case it changes"
    assert told["hash"].startswith("opencv-")


def test_wide_holes_are_told_of_where_the_model_smears(cv2: Studio) -> None:
    photo = photo_of("L", 200, 200)
    cv2.clean(photo, mask_of(200, 200, (50, 50, 100, 8)))
    assert cv2.last == []
    cv2.clean(photo, mask_of(200, 200, (50, 50, 80, 80)))
    assert ["big-lama" in words.en for words in cv2.last] == [True]


# -- steps ------------------------------------------------------------------------------------------------


def test_a_step_is_a_crop_and_strangers_share_it(lama: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = menders.LaMa.mend

    def mend(self: Any, pictures: Any, holes: Any) -> Any:
        seen.append(len(pictures))
        return plain(self, pictures, holes)

    monkeypatch.setattr(menders.LaMa, "mend", mend)
    mask = mask_of(1200, 300, *SPECKS)
    works = [lama.work(photo_of("RGB", 1200, 300, i), mask, model="lama") for i in range(3)]
    runs = [lama.engine.begin(work) for work in works]
    assert [run.total for run in runs] == [3, 3, 3]
    assert all(run.row_bytes > 300_000_000 for run in runs), "what a crop takes is said"
    drive(lama.engine, runs)
    assert seen == [3, 3, 3], "three strangers' crops in three forwards"


def test_crops_of_other_sizes_do_not_mix(lama: Studio) -> None:
    """Even where they are told to step together, each comes out as it does alone."""
    small = lama.work(photo_of("RGB", 100, 90), mask_of(100, 90, (5, 5, 9, 9)), model="lama")
    large = lama.work(photo_of("L", 700, 300), mask_of(700, 300, (500, 50, 9, 9)), model="lama")
    runs = [lama.engine.begin(work) for work in (small, large)]
    assert runs[0].key != runs[1].key
    lama.engine.advance(runs)
    together = [np.asarray(opened(finished(lama.engine, run)[0])) for run in runs]
    for run in runs:
        lama.engine.suspend(run)
    alone = [
        lama.clean(photo_of("RGB", 100, 90), mask_of(100, 90, (5, 5, 9, 9)), model="lama"),
        lama.clean(photo_of("L", 700, 300), mask_of(700, 300, (500, 50, 9, 9)), model="lama"),
    ]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one, np.asarray(other))


async def test_many_through_the_pool_and_one_cancelled(lama: Studio, cv2: Studio) -> None:
    """Forty specks on one photo, cancelled; beside it another's photo comes out as it would alone."""
    boxes = [(x, y, 3, 3) for x in range(30, 4000, 400) for y in range(30, 1600, 400)]
    many = lama.work(photo_of("L", 4000, 1600), mask_of(4000, 1600, *boxes), model="lama")
    photo, mask = photo_of("RGB", 300, 200), mask_of(300, 200, (90, 90, 5, 60))
    one = lama.work(photo, mask, model="lama")
    pool = Pool({Cleanup: lambda device: lama.engine}, [CPU])
    await pool.start()
    try:
        async with aclosing(pool.run(many)) as events:
            async with asyncio.timeout(60):
                steps = [event async for event in _until_two_steps(events)]
            assert steps[-1].total > 10
        async with aclosing(pool.run(one)) as events:
            last = [event async for event in events][-1]
        assert isinstance(last, Finished)
        made = np.asarray(opened(last.artifacts[0]))
    finally:
        await pool.stop(10)
    assert not list(many.folder.iterdir())
    assert np.array_equal(made, np.asarray(lama.clean(photo, mask, model="lama")))


async def _until_two_steps(events: AsyncIterator[Event]) -> AsyncIterator[Any]:
    async for event in events:
        if (step := getattr(event, "step", 0)) >= 1:
            yield event
        if step >= 2:
            return


# -- no -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "asked", "said"),
    [
        (mask_of(60, 50), {}, "nothing white"),
        (mask_of(60, 50, (0, 0, 60, 50)), {}, "white everywhere"),
        (mask_of(60, 50), {"invert": True}, "white everywhere"),
        (mask_of(60, 50, (0, 0, 60, 50)), {"invert": True}, "nothing white"),
        (mask_of(60, 50, (5, 5, 50, 40)), {"grow": 20}, "smaller `grow`"),
        (mask_of(50, 60, (5, 5, 9, 9)), {}, "60×50 but the mask is 50×60"),
        (None, {}, "There is no mask"),
    ],
)
def test_masks_that_will_not_do(
    cv2: Studio, mask: Image.Image | None, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refusal, match=said):
        cv2.clean(photo_of("RGB", 60, 50), mask, **asked)
    assert all(leases == 0 for _, _, leases in cv2.models.held())


def test_the_photo_is_read_before_it_is_the_devices_turn(cv2: Studio) -> None:
    work = cv2.work(photo_of("RGB", 60, 50), mask_of(60, 50, (5, 5, 4, 4)))
    cv2.engine.prepare(work)
    for file in cv2.files.values():
        file.unlink()
    cv2.engine.suspend(cv2.engine.begin(work))
    with pytest.raises(Refusal, match="no longer stored"):
        cv2.engine.begin(work)


def test_a_photo_that_is_gone(cv2: Studio) -> None:
    work = cv2.work(photo_of("RGB", 60, 50), mask_of(60, 50, (5, 5, 9, 9)))
    cv2.files[work.request.blobs[0]].unlink()
    with pytest.raises(Refusal, match="Send it again"):
        cv2.engine.begin(work)
    assert cv2.models.held() == []


def test_a_suspended_run_holds_nothing(cv2: Studio) -> None:
    run: Cleaning = cv2.engine.begin(cv2.work(photo_of("RGB", 60, 50), mask_of(60, 50, (5, 5, 9, 9))))
    cv2.engine.suspend(run)
    assert run.sheet is None
    with pytest.raises(AssertionError):
        cv2.engine.advance([run])
