"""Cleaning up: every byte outside the mask stays, strangers share steps, models stay loaded and are what they say."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_conformance import Conformance, drive, finished
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_compose import MODES, mask_of, photo_of, reach
from toy_engine import CPU

from engines import compose, recipe
from engines.cleaning import iopaint_library, menders
from engines.cleaning.engine import Cleaner, Cleaning
from engines.cleaning.menders import ROLE, Bytes
from engines.engine import Busy, Work
from engines.events import Artifact, Event, Finished
from engines.models import catalogue, downloadable
from engines.models.memory import Blueprint, Models, Piece
from engines.requests import Cleanup
from engines.serving.pool import Pool
from engines.words import Refusal


class Network(torch.nn.Module):
    """LaMa's signature and manners, small: mean colours of the known surroundings, in the hole only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Conv2d(4, 3, 5, padding=2, padding_mode="reflect")

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        known = image * (1 - mask)
        guess = torch.sigmoid(self.mix(torch.cat([known, mask], dim=1)))
        return mask * guess + (1 - mask) * image


class Noise:
    """A mender that changes everything it is given."""

    together, deep, row_bytes = True, 0, 0

    def padded(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def mend(self, pictures: Sequence[Bytes], holes: Sequence[Bytes]) -> list[Bytes]:
        return [np.random.default_rng(5).integers(0, 256, one.shape, np.uint8) for one in pictures]


def noise(name: str) -> Blueprint:
    return Blueprint("noise", "n0", (Piece(ROLE, "n0", 1, Noise),))


def never(name: str, kind: str) -> Blueprint:
    raise AssertionError("cleanup asks for no diffusion model")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a big-lama in it that is not the real one."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "big-lama").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is what there is of LaMa
        torch.jit.script(Network().eval()).save(folder / "big-lama" / "big-lama.pt")
    return folder


def known_as(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the list of downloads say that `file` is the true big-lama."""
    data = file.read_bytes()
    true = downloadable.named("big-lama")
    assert true is not None
    told = dataclasses.replace(true.file, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    rest = [one for one in downloadable.KNOWN if one.name != true.name]
    monkeypatch.setattr(downloadable, "KNOWN", (*rest, dataclasses.replace(true, file=told)))


class Studio:
    """A cleaner with photos lying about."""

    def __init__(self, folder: Path, read: Callable[[str], Blueprint], budget: int | None = None) -> None:
        self.models = Models(never, budget=budget)
        self.engine = Cleaner(self.models, read)
        self.folder, self.files, self.jobs = folder, dict[str, Path](), 0

    def store(self, name: str, picture: Image.Image) -> str:
        self.files[name] = self.folder / f"{name}.png"
        picture.save(self.files[name])
        return name

    def work(self, photo: Image.Image, mask: Image.Image | None, **asked: Any) -> Work:
        self.jobs += 1
        place = self.folder / f"job{self.jobs}"
        place.mkdir()
        image = self.store(f"photo{self.jobs}", photo)
        blob = self.store(f"mask{self.jobs}", mask) if mask else ""
        request = Cleanup(**{"model": "cv2", **asked, "image": image, "mask": blob})
        return Work(self.jobs, f"person {self.jobs}", request, place, self.files)

    def clean(self, photo: Image.Image, mask: Image.Image | None, **asked: Any) -> Image.Image:
        work = self.work(photo, mask, **asked)
        self.engine.prepare(work)
        run = self.engine.begin(work)
        try:
            while not run.finished:
                self.engine.advance([run])
            self.last = run.notes
            return opened(finished(self.engine, run)[0])
        finally:
            self.engine.suspend(run)


def opened(made: Artifact) -> Image.Image:
    with Image.open(made.path) as picture:
        picture.load()
        return picture


@pytest.fixture
def cv2(tmp_path: Path) -> Studio:
    return Studio(tmp_path, menders.reader(None, "cpu"))


@pytest.fixture
def lama(tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    known_as(network / "big-lama" / "big-lama.pt", monkeypatch)
    return Studio(tmp_path, menders.reader(network, "cpu", "big-lama"))


SPECKS = [(40, 60, 9, 9), (600, 70, 30, 5), (1120, 200, 12, 40)]  # too far apart for one crop


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


# -- models -----------------------------------------------------------------------------------------------


def test_a_photo_comes_out_as_iopaint_itself_makes_it(lama: Studio, network: Path) -> None:
    """The peer: IOPaint's manager on the whole photo. Ours goes in batches of crops; here the crop is the photo."""
    manager = iopaint_library.manager("lama", "cpu", network / "big-lama" / "big-lama.pt")
    photos = [photo_of("RGB", 203, 150, seed) for seed in range(3)]
    mask = mask_of(203, 150, (20, 30, 40, 9), (150, 100, 3, 30))
    works = [lama.work(photo, mask, model="lama", grow=0, feather=0) for photo in photos]
    runs = [lama.engine.begin(work) for work in works]
    lama.engine.advance(runs)
    for photo, run in zip(photos, runs, strict=True):
        ours = np.asarray(opened(finished(lama.engine, run)[0])).astype(int)
        lama.engine.suspend(run)
        theirs = manager(np.asarray(photo), np.asarray(mask), menders.whole())[..., ::-1].astype(int)
        white = np.asarray(mask) > 0
        assert np.abs(ours - theirs)[white].max() <= 1
        assert np.array_equal(ours[~white], np.asarray(photo)[~white])


def test_opencv_fills_as_iopaint_does(cv2: Studio) -> None:
    photo, mask = photo_of("RGB", 90, 70), mask_of(90, 70, (20, 30, 9, 9))
    theirs = iopaint_library.manager("cv2", "cpu")(np.asarray(photo), np.asarray(mask), menders.whole())
    ours = np.asarray(cv2.clean(photo, mask, grow=0, feather=0))
    white = np.asarray(mask) > 0
    assert np.array_equal(ours[white], theirs[..., ::-1][white])


@pytest.mark.parametrize("size", [(5, 4), (8, 8), (31, 200)])
def test_photos_smaller_than_the_network_likes(lama: Studio, size: tuple[int, int]) -> None:
    made = lama.clean(photo_of("RGB", *size), mask_of(*size, (1, 1, 2, 1)), model="lama", grow=0, feather=0)
    assert made.size == size


def test_a_model_is_loaded_once_and_leaves_only_for_want_of_room(
    tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = network / "big-lama" / "big-lama.pt"
    known_as(file, monkeypatch)
    loaded: list[str] = []
    plain = iopaint_library.manager

    def manager(name: str, *more: Any) -> Any:
        loaded.append(name)
        return plain(name, *more)

    monkeypatch.setattr(iopaint_library, "manager", manager)
    room = file.stat().st_size + menders.SMALL
    studio = Studio(tmp_path, menders.reader(network, "cpu"), budget=room)
    photo, mask = photo_of("L", 60, 50), mask_of(60, 50, (5, 5, 4, 4))
    for model in ("lama", "cv2", "big-lama", "cv2", "lama"):
        studio.clean(photo, mask, model=model)
    assert loaded == ["lama", "cv2"]

    tight = Studio(tmp_path / "..", menders.reader(network, "cpu"), budget=room - 1)
    tight.folder = tmp_path / "tight"
    tight.folder.mkdir()
    run = tight.engine.begin(tight.work(photo, mask, model="lama"))
    with pytest.raises(Busy):  # its room is leased
        tight.engine.begin(tight.work(photo, mask, model="cv2"))
    tight.engine.suspend(run)
    tight.clean(photo, mask, model="cv2")
    assert [role for role, _, _ in tight.models.held()] == [ROLE], "LaMa made room"


def test_the_lane_knows_whose_model_is_on_the_device(
    tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_as(network / "big-lama" / "big-lama.pt", monkeypatch)
    studio = Studio(tmp_path, menders.reader(network, "cpu"))
    photo, mask = photo_of("RGB", 60, 50), mask_of(60, 50, (5, 5, 4, 4))
    quick, large = (studio.work(photo, mask, model=model) for model in ("cv2", "lama"))
    for work in (quick, large):
        studio.engine.prepare(work)
        assert not studio.engine.ready(work)
    studio.engine.suspend(studio.engine.begin(large))
    assert (studio.engine.ready(quick), studio.engine.ready(large)) == (False, True)


def test_a_file_with_another_sum_is_not_loaded(
    tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = network / "big-lama" / "big-lama.pt"
    known_as(file, monkeypatch)
    forged = tmp_path / "models" / "big-lama" / "big-lama.pt"
    forged.parent.mkdir(parents=True)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    forged.write_bytes(data)

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("TorchScript can carry programs")

    monkeypatch.setattr(torch.jit, "load", load)
    studio = Studio(tmp_path, menders.reader(tmp_path / "models", "cpu"))
    with pytest.raises(Refusal, match="defect-studio models fetch big-lama"):
        studio.clean(photo_of("L", 60, 50), mask_of(60, 50, (5, 5, 4, 4)), model="lama")
    assert studio.models.held() == []


def test_a_file_torch_cannot_read_ends_one_job_and_not_the_studio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "models" / "big-lama" / "big-lama.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not a network")
    known_as(file, monkeypatch)
    studio = Studio(tmp_path, menders.reader(tmp_path / "models", "cpu"))
    with pytest.raises(Refusal, match="cannot be loaded"):
        studio.clean(photo_of("L", 60, 50), mask_of(60, 50, (5, 5, 4, 4)), model="lama")
    assert file.exists()


def test_the_true_model_is_known_by_iopaints_own_sum() -> None:
    """Two sums of one file: IOPaint pins it by MD5, we by SHA-256 and size."""
    from iopaint.model.lama import LAMA_MODEL_MD5, LAMA_MODEL_URL

    ours = downloadable.named("big-lama")
    assert ours is not None
    assert LAMA_MODEL_MD5 == "e3aa4aaa15225a33ec84f9f4bc47e500"
    assert LAMA_MODEL_URL in ours.file.places
    assert ours.file.sha256 == "344c77bbcb158f17dd143070d1e789f38a66c04202311ae3a258ef66667a9ea9"


def test_models_by_name(tmp_path: Path) -> None:
    default = catalogue.find("", "cleanup", tmp_path)
    assert (default.name, default.here) == ("cv2", True)
    lama = catalogue.find("lama", "cleanup", tmp_path)
    assert (lama.name, lama.here, lama.licence) == ("big-lama", False, "Apache-2.0")
    with pytest.raises(Refusal):
        catalogue.find("cv2", "txt2img", tmp_path)
    with pytest.raises(Refusal, match="models fetch big-lama"):
        menders.reader(None, "cpu")("lama")


def test_iopaints_import_leaves_no_trace(tmp_path: Path) -> None:
    """Its settings would slow down every other network here, and hide warnings."""
    package = tmp_path / "iopaint"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os, warnings\n"
        "os.environ['LRU_CACHE_CAPACITY'] = '1'\nos.environ['HOME'] = 'elsewhere'\n"
        "warnings.simplefilter('ignore', UserWarning)\n"
    )
    (package / "model_manager.py").write_text("import imghdr")
    program = (
        "import os, sys, warnings\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "before = dict(os.environ), list(warnings.filters)\n"
        "from engines.cleaning import iopaint_library\n"
        "iopaint_library.imported(); iopaint_library.imported()\n"
        "assert sys.modules['iopaint'].__file__.startswith(sys.path[0])\n"
        "assert (dict(os.environ), list(warnings.filters)) == before\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


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
