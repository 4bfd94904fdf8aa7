"""The audit of a training's data on the embedded models: what survives the VAE, the mend, time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import photo, png
from PIL import Image

from engines import embedded
from engines.engine import Work
from engines.models.loading import reader
from engines.models.memory import Models
from engines.training.audit import Audit, Looking, box_of, findings, memory, survival
from engines.training.drawing import GAP, HEAD
from engines.training.request import Train
from engines.training.review import Review


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = tmp_path_factory.mktemp("models")
    return Audit(Models(reader(folder, "cpu", "float32", paths=[embedded.INPAINT])))


def review(folder: Path, pictures: list[tuple[Image.Image, Image.Image]], **asked: Any) -> Work:
    folder.mkdir(exist_ok=True)
    files, images = {}, []
    for i, (picture, mask) in enumerate(pictures):
        for name, image in ((f"p{i}", picture), (f"m{i}", mask)):
            files[name] = folder / f"{name}.png"
            files[name].write_bytes(png(image))
        images.append({"image": f"p{i}", "mask": f"m{i}"})
    files["sheet"] = files["p0"]
    concept = {"name": "scratch", "instance_prompt": "a scratch", "class_prompt": "a thing", "images": images}
    train = Train(save_as="x", model="defect-studio/mini-inpaint", concepts=(concept,), **asked)
    return Work(1, "kim", Review(draft=1, sheet="sheet", train=train.to_json()), folder, files)


def looked(audit: Audit, work: Work) -> tuple[Looking, Any]:
    run = audit.begin(work)
    try:
        while not run.finished:
            audit.advance([run])
        return run, audit.finish(run)()
    finally:
        audit.suspend(run)


def test_a_bold_defect_survives_and_all_is_told(audit: Audit, tmp_path: Path) -> None:
    run, made = looked(audit, review(tmp_path, [photo(i, defect=True) for i in range(2)]))
    assert [artifact.name for artifact in made] == ["sheet.png", "vae.png"]
    facts = made[0].recipe["review"]
    assert facts["survives"]["scratch"] > 0.5
    assert facts["step_seconds"] > 0
    assert 1e7 < facts["memory"] < 1e10
    assert "keeps" in run.notes[0].en
    with Image.open(made[1].path) as drawn:
        assert drawn.size == (4 * (192 + GAP) - GAP, HEAD + HEAD + 192), "words above the columns and the row"


def test_a_hair_in_a_large_picture_does_not_and_a_closer_crop_mends_it(audit: Audit, tmp_path: Path) -> None:
    """A one-pixel line, seen as the normal modes see it, is lost; around the defect it is there."""
    picture = Image.new("RGB", (640, 640), (120, 120, 120))
    mask = Image.new("L", (640, 640), 0)
    for x in range(300, 324):
        picture.putpixel((x, 320), (230, 230, 230))
        mask.putpixel((x, 320), 255)
    run, made = looked(audit, review(tmp_path, [(picture, mask)], mode="normal-inpainting"))
    assert made[0].recipe["review"]["survives"]["scratch"] < 0.5
    (note,) = run.notes
    assert "what it cannot see it cannot learn" in note.en
    assert "`mode:defect crop:" in note.en
    closer, _ = looked(audit, review(tmp_path / "closer", [(picture, mask)], mode="defect"))
    assert closer.seen[0].survives > run.seen[0].survives


def test_survival_is_the_share_of_contrast_that_is_left() -> None:
    defect = np.zeros((64, 64), np.bool_)
    defect[30:34, 10:50] = True
    before = np.full((64, 64, 3), 100, np.uint8)
    before[defect] = 200
    gone, half = np.full_like(before, 100), before.copy()
    half[defect] = 150
    assert survival(before, before, defect) == pytest.approx(1.0)
    assert survival(before, half, defect) == pytest.approx(0.5, abs=0.02)
    assert survival(before, gone, defect) == pytest.approx(0.0, abs=0.02)
    assert survival(before, gone, np.ones_like(defect)) == 1.0, "nothing to compare with"


def test_memory_by_method(audit: Audit, tmp_path: Path) -> None:
    run = audit.begin(review(tmp_path, [photo(0, defect=True)]))
    parts = run.lease.parts
    full = memory(Train(save_as="x", method="full"), parts)
    lora = memory(Train(save_as="x"), parts)
    saving = memory(Train(save_as="x", method="full", gradient_checkpointing=True, adam8bit=True), parts)
    audit.suspend(run)
    assert lora < full
    assert saving < full
    assert findings([], run.asked) == []


def test_the_crop_holds_the_defect() -> None:
    white = np.zeros((100, 200), np.bool_)
    white[0:10, 190:200] = True
    left, top, right, bottom = box_of(white, 2.5, 64)
    assert (right - left, bottom - top) == (25, 25)
    assert left <= 190 < 200 <= right
    assert box_of(white, 0.0, 64) == (100, 0, 200, 100)
