"""/compare: one table of models and prompts, from the asking to the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desk_world import LEE, Sent, World, mask, png
from PIL import Image
from safetensors.numpy import save_file

from bot.many.assembly import Assembly, assembled
from bot.many.part_files import Made
from bot.models.compare_table import Column, Table, drawn
from bot.pictures.sheets import PAPER
from engines.compare_form import MOST_MODELS, MOST_ROWS, Compare
from engines.engine import Work
from engines.events import Artifact
from engines.requests import Inpaint, Txt2Img, request_named
from engines.words import Words


def lora(world: World, name: str, base: str, mode: str, *concepts: str) -> None:
    assert world.desk.settings.models_folder is not None
    path = world.desk.settings.models_folder / name
    path.mkdir()
    weights = {f"unet.mid.to_q.lora_{part}.weight": np.ones((4, 4), np.float32) for part in "AB"}
    save_file(weights, path / "pytorch_lora_weights.safetensors")
    taught = [{"name": c, "instance_prompt": f"a photo of a nut with a {c}"} for c in concepts]
    (path / "model.json").write_text(json.dumps({"base": base, "mode": mode, "concepts": taught}))


PHOTO = (Sent("photo.png", png()), Sent("mask.png", mask()))


async def asked(world: World, text: str, *sent: Sent) -> Compare:
    message = await world.say(text, *sent)
    assert message.kind == "accepted", message.text
    return Compare.from_json((await world.job(message.job)).request)


async def test_rows_are_what_the_models_were_taught(world: World) -> None:
    lora(world, "plain", "toy-inpaint", "normal", "scratch")
    lora(world, "ours", "toy-inpaint", "defect", "scratch", "dent")
    request = await asked(world, "/compare models:toy-inpaint,plain,ours", *PHOTO)
    assert [row["label"] for row in request.rows] == ["scratch", "dent"], "each concept once"
    assert [c["mode"] for c in request.columns] == ["", "normal", "defect"]
    assert [c["concepts"] for c in request.columns] == [0, 1, 2]
    parts = [part.request for part in request.parts]
    assert len(parts) == 6
    assert all(isinstance(one, Inpaint) and one.image and one.mask for one in parts)
    assert {one.seed for one in parts} == {request.seed}, "one seed for all"  # type: ignore[attr-defined]
    assert request.seed >= 0
    job = await world.job(1)
    assert job.cost == sum(one.cost for one in parts)
    assert set(request.blobs) == {request.image, request.mask}
    assert len({part.name for part in request.parts}) == 6


async def test_prompts_are_rows_and_unable_models_empty_columns(world: World) -> None:
    message = await world.say('/compare "a nut | 균열이 있는 타일" models:toy,toy-inpaint seed:7 steps:9')
    assert "`toy-inpaint` cannot do txt2img" in (await world.job(message.job)).notes[0][0]
    request = Compare.from_json((await world.job(message.job)).request)
    assert request.cells == ((0, 0), (1, 0))
    made = [part.request for part in request.parts]
    assert made == [Txt2Img(prompt=p, model="toy", seed=7, steps=9) for p in ("a nut", "균열이 있는 타일")]
    assert request_named("compare").from_json(json.loads(json.dumps(request.to_json()))) == request


async def test_a_photo_chosen_earlier_is_not_taken_unasked(world: World) -> None:
    await world.store.people.set_last_input("console:kim", await world.store.blobs.put(png()))
    request = await asked(world, '/compare "a nut" models:toy')
    assert (request.image, request.mask) == ("", "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('/compare "x" models:toy,nonesuch', "There is no model `nonesuch`"),
        ('/compare "x" models:toy-inpaint', "can only inpaint: attach a photo and a mask"),
        ("/compare models:toy", "say a prompt"),
        ('/compare "x"', "There is no trained model to compare yet"),
    ],
)
async def test_what_cannot_be_compared_is_said(world: World, text: str, told: str) -> None:
    no = await world.say(text)
    assert no.kind == "refused"
    assert told in no.text


async def test_a_private_model_is_unknown_in_a_comparison_too(world: World) -> None:
    lora(world, "secret", "toy", "defect", "scratch")
    await world.store.models.add("secret", owner="console:kim", place={}, shared=[], now=1.0, job=9)
    assert (await world.say('/compare "x" models:toy,secret')).kind == "accepted"
    no = await world.say('/compare "x" models:toy,secret', who=LEE)
    assert "There is no model `secret`" in no.text
    newest = await asked(world, "/compare")
    assert newest.models == "toy, secret", "the newest trained one and its base"
    assert (await world.say("/compare", who=LEE)).kind == "refused"


async def test_a_table_has_bounds(world: World) -> None:
    for n in range(MOST_MODELS + 1):
        lora(world, f"m{n}", "toy", "defect", *(f"c{n}-{i}" for i in range(3)))
    every = ",".join(f"m{n}" for n in range(MOST_MODELS + 1))
    assert f"{MOST_MODELS} models at most" in (await world.say(f"/compare models:{every}")).text
    message = await world.say(f"/compare models:{every.rpartition(',')[0]}")
    job = await world.job(message.job)
    assert len(job.request["rows"]) == MOST_ROWS
    assert f"first {MOST_ROWS} rows" in job.notes[0][0]


def comparison(folder: Path, **changed: Any) -> tuple[Compare, list[Made]]:
    """Two rows, three models, the third of which cannot; one part has failed."""
    kinds = ["txt2img", "img2img", "inpaint"]
    columns = [
        {"model": "base", "kinds": kinds, "mode": "", "concepts": 0},
        {"model": "plain", "kinds": kinds, "mode": "normal", "concepts": 1},
        {"model": "ours", "kinds": ["inpaint"], "mode": "defect", "concepts": 3},
    ]
    rows = [{"label": text, "prompt": text} for text in ("a scratch", "긁힘")]
    request = Compare(models="base, plain, ours", columns=tuple(columns), rows=tuple(rows), seed=3, **changed)
    made = []
    for n, part in enumerate(request.parts):
        path = folder / f"{n}.png"
        Image.new("RGB", (64, 64), (60 * n, 0, 200)).save(path)
        made.append(Made(part, (Artifact(path, "x.png", width=64, height=64),)))
    made[3] = Made(made[3].part, failure=Words("no", "아니요"))
    return request, made


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_pictures_become_one_table_and_files_of_their_own(tmp_path: Path, language: str) -> None:
    request, made = comparison(tmp_path, language=language)
    sheet, *singles = assembled(Assembly(Work(5, "kim", request, tmp_path), tuple(made)))
    assert sheet.name == "compare.png"
    assert "sheet" in sheet.recipe, "shown; the others go into the archive"
    assert [one.name for one in singles] == [
        "1-a-scratch-base.png",
        "1-a-scratch-plain.png",
        "2-긁힘-base.png",
    ]
    with Image.open(sheet.path) as picture:
        assert picture.size == (sheet.width, sheet.height)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or ()}
    for n in range(3):
        assert (60 * n, 0, 200) in colours
    assert (180, 0, 200) not in colours, "the failed one has no picture"


def test_each_cell_is_where_its_row_and_column_meet(tmp_path: Path) -> None:
    paths = {}
    for i in range(3):
        for j in range(2):
            paths[i, j] = tmp_path / f"{i}{j}.png"
            Image.new("RGB", (32, 32), (80 * i, 80 * j, 255)).save(paths[i, j])
    columns = tuple(Column(Words("t", "t"), f"m{j}", ()) for j in range(2))
    picture = drawn(Table(("a", "b", "c"), columns, paths))
    at = {}
    for x in range(0, picture.width, 4):
        for y in range(0, picture.height, 4):
            colour = picture.getpixel((x, y))
            if isinstance(colour, tuple) and colour[2] == 255:
                at.setdefault((colour[0] // 80, colour[1] // 80), []).append((x, y))
    assert set(at) == set(paths)
    middle = {cell: tuple(np.mean(points, axis=0)) for cell, points in at.items()}
    assert all(middle[i, 0][0] < middle[i, 1][0] for i in range(3))
    assert all(middle[i, j][1] < middle[i + 1, j][1] for i in range(2) for j in range(2))
    assert picture.getpixel((0, 0)) == PAPER
