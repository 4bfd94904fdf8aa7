"""A picture carries how it was made: readable by other tools, exact for us, the same bytes every time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engines import recipe
from engines.requests import Inpaint, Txt2Img

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60)


def told(request: Txt2Img | Inpaint) -> dict[str, Any]:
    return {
        "command": request.name,
        "request": request.to_json(),
        "seed": request.seed,
        "width": 8,
        "height": 6,
        "model": "embedded",
        "hash": "0123456789abcdef",
        "versions": {"defect-studio": "0.1.0", "torch": "2", "diffusers": "0.42"},
    }


NUT = Txt2Img(prompt="a photo of a nut", negative="blurry, dark", seed=7, steps=20, guidance=7.0)


@given(prompt=TEXT, negative=TEXT, seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_back(prompt: str, negative: str, seed: int) -> None:
    request = Txt2Img(prompt=prompt, negative=negative, seed=seed)
    read = recipe.read(recipe.png(Image.new("RGB", (8, 6)), told(request)))
    assert read == told(request)
    assert Txt2Img.from_json(read["request"]) == request


def test_parameters_in_the_form_other_tools_read() -> None:
    assert recipe.parameters(told(NUT)) == (
        "a photo of a nut\n"
        "Negative prompt: blurry, dark\n"
        "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 7, Size: 8x6, Model hash: 0123456789, "
        "Model: embedded, Version: Defect Studio 0.1.0"
    )


def test_strength_and_odd_names() -> None:
    request = Inpaint(prompt="x", image="a", mask="b", strength=0.6, seed=1)
    said = recipe.parameters({**told(request), "model": 'my, "own": model'})
    assert "Denoising strength: 0.6" in said
    assert 'Model: "my, \\"own\\": model"' in said
    assert "Negative prompt" not in said


def test_korean_survives_in_the_png() -> None:
    request = Txt2Img(prompt="금속 너트의 긁힌 자국", seed=1)
    data = recipe.png(Image.new("L", (8, 6)), told(request))
    path_free = Image.open(io.BytesIO(data))
    path_free.load()
    assert path_free.info["parameters"].startswith("금속 너트의 긁힌 자국\n")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_the_same_recipe_gives_the_same_bytes_and_keeps_the_pixels(mode: str) -> None:
    picture = Image.new(mode, (8, 6), 200)
    first = recipe.png(picture, told(NUT))
    assert first == recipe.png(picture.copy(), told(NUT))
    with Image.open(io.BytesIO(first)) as back:
        assert back.mode == mode
        assert back.tobytes() == picture.tobytes()


def test_other_peoples_pictures_have_no_recipe_of_ours(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "plain.png")
    assert recipe.read((tmp_path / "plain.png").read_bytes()) is None
    assert recipe.read(b"not a picture") is None
    assert recipe.read(recipe.png(Image.new("RGB", (8, 6)), told(NUT))[:-40]) is None


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.png"
    recipe.write(target, b"old")
    recipe.write(target, b"new")
    assert target.read_bytes() == b"new"

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(recipe.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        recipe.write(target, b"newer")
    assert target.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
