"""Forty photos and their masks in one archive, one command: one archive comes back, with the real engine."""

from __future__ import annotations

import io
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bot.app import studio
from bot.platforms.console import Console, ShowJson
from bot.settings.config import Config
from bot.talk import Person

WIDE, HIGH = 48, 40
SPOT = (10, 12, 16, 18)  # left, top, right, bottom


def packed(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def photos() -> dict[str, Image.Image]:
    """Each of another colour, with a white spot in it; not in the order of their names."""
    made = {}
    for n in random.Random(1).sample(range(40), 40):
        made[f"side {n % 2}/{n:02d}.png"] = Image.new("RGB", (WIDE, HIGH), (5 * n, 200 - 5 * n, 90))
        made[f"side {n % 2}/{n:02d}.png"].paste("white", SPOT)
    return made


@pytest.mark.timeout(300)
async def test_forty_in_one_zip_come_back_as_one_zip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = photos()
    mask = Image.new("L", (WIDE, HIGH))
    mask.paste(255, SPOT)
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        for name in reversed(sent):
            archive.writestr(f"masks/{name}", packed(mask))
        for name, photo in sent.items():
            archive.writestr(f"images/{name}", packed(photo))
        archive.writestr("images/side 0/broken.png", b"no picture")
    console = Console(Person("console:kim", "Kim", admin=True), "en", tmp_path / "out", ShowJson())
    async with studio(Config(data=tmp_path / "data"), [console]):
        end = await console.say(f"/cleanup image:@{tmp_path / 'sent.zip'}")
    assert end.kind == "finished", end.text
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (lines[0]["event"], lines[-1]["event"]) == ("accepted", "finished")
    assert "side 0/broken.png" in lines[0]["text"], "what cannot be read is named, and holds up nobody"
    assert [file.name for file in end.files] == ["contact-sheet.png", f"{end.job}.zip"]
    with zipfile.ZipFile(tmp_path / "out" / f"{end.job}-{end.job}.zip") as archive:
        assert archive.namelist() == list(sent), "named after what was sent, in its order"
        for name, photo in sent.items():
            with Image.open(archive.open(name)) as made:
                before, after = np.asarray(photo, int), np.asarray(made, int)
            assert np.abs(after - before[0, 0]).max() <= 2, "the spot is gone"
            near = np.s_[SPOT[1] - 4 : SPOT[3] + 4, SPOT[0] - 4 : SPOT[2] + 4]
            before[near] = after[near]
            assert (before == after).all(), "and it is this photo"
