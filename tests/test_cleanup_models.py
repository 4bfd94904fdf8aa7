"""Models that clean up: equal to IOPaint, loaded once, and what they say they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cleanup_world import Studio, known_as, opened
from compose_world import mask_of, photo_of
from engine_conformance import finished

from engines.cleaning import iopaint_library, menders
from engines.cleaning.menders import ROLE
from engines.engine import Busy
from engines.models import catalogue, downloadable
from engines.words import Refusal

pytestmark = pytest.mark.usefixtures("one_thread_throughout")


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
