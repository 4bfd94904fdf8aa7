"""The contact sheet of a data set: every concept's row is told apart, whatever letters this machine can draw."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from bot.pictures import sheets
from bot.pictures.samples import rows_of, sheet


def drawn(folder: Path, labels: list[str]) -> Image.Image:
    photo = folder / "photo.png"
    Image.new("RGB", (40, 30), "red").save(photo)
    rows = rows_of(labels, [[(str(photo), "")]] * len(labels))
    return Image.open(io.BytesIO(sheet({"cell": 96, "rows": rows}))).convert("RGB")


def test_a_name_that_no_font_here_can_draw_is_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "FONTS", ())
    sheets._installed.cache_clear()
    korean, other = drawn(tmp_path, ["긁힘", "찍힘"]), drawn(tmp_path, ["눌림", "얼룩"])
    sheets._installed.cache_clear()
    assert korean.tobytes() == other.tobytes(), "no letter of the names is drawn"
    assert korean.height == drawn(tmp_path, ["scratch", "dent"]).height
    assert korean.tobytes() != drawn(tmp_path, ["scratch", "dent"]).tobytes()


def test_a_long_name_stays_inside(tmp_path: Path) -> None:
    assert drawn(tmp_path, ["scratch " * 40]).width == drawn(tmp_path, ["scratch"]).width
