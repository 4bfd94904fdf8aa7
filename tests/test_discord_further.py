"""Many pictures by one slash command, and options beyond Discord's 25: the real client in a simulated Discord."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from desk_world import opened
from desk_world import png as square
from discord_world import Desk, Outside, png, text, world
from PIL import Image

from bot.pictures.reading import PictureLimits, PictureReader
from bot.platforms.discord.further import more_read
from bot.talk import Invocation
from engines.requests import Inpaint, Train
from engines.words import Refusal


def corner(left: int) -> bytes:
    """A mask of the left `left` columns."""
    out, mask = io.BytesIO(), Image.new("L", (64, 48))
    mask.paste(255, (0, 0, left, 48))
    mask.save(out, "PNG")
    return out.getvalue()


async def accepted(tmp_path: Path, **options: Any) -> tuple[Inpaint, dict[str, float]]:
    """The request that a slash command became, and the share of each photo that its mask covers."""
    async with (
        PictureReader(PictureLimits(workers=1)) as reader,
        opened(tmp_path, reader) as house,
        world(Outside(house.desk), settle=30.0) as w,
    ):
        said = await w.ann.slash(w.channel, "inpaint", prompt="a scratch", **options)
        assert "#1" in text(said.response), text(said.response)
        request = Inpaint.from_json((await house.job(1)).request)
        shares = {}
        for item in request.items:
            with Image.open(house.store.blobs.path(item.mask)) as mask:
                values = mask.tobytes()
                shares[item.name] = values.count(255) / len(values)
        return request, shares


@pytest.mark.timeout(180)
async def test_five_photos_with_their_masks_in_one_command(tmp_path: Path) -> None:
    names = ("a.png", "b.png", "c.png", "d.png", "e.png")
    files = {f"image{n if n > 1 else ''}": (name, square()) for n, name in enumerate(names, 1)}
    masks = {
        f"image{n}": (name.replace(".", "_mask."), corner(8 * (n - 5)))
        for n, name in zip(range(10, 5, -1), names, strict=True)  # in any order: they are paired by name
    }
    request, shares = await accepted(tmp_path, **files, **masks)
    assert [item.name for item in request.items] == list(names)
    assert shares == {name: (8 * (n - 5)) / 64 for n, name in zip(range(10, 5, -1), names, strict=True)}


@pytest.mark.timeout(180)
async def test_one_mask_for_all_and_the_first_option_left_free(tmp_path: Path) -> None:
    request, shares = await accepted(
        tmp_path,
        image3=("b.png", square()),
        image7=("c.png", square()),
        mask=("spot.png", corner(16)),
        more="tries:4",
    )
    assert (request.tries, request.cost) == (4, 4 * 2 * 50)
    assert shares == {"b.png": 0.25, "c.png": 0.25}
    assert request.prompt == "a scratch"


async def test_more_reaches_the_desk_as_options() -> None:
    desk = Desk()
    async with world(desk) as w:
        await w.ann.slash(
            w.channel, "train", save_as="nut", steps=3, more="crop:0.5 저장간격:20 beta1=0.8", prompts="a | b"
        )
        again = await w.ann.slash(w.channel, "train", save_as="nut", steps=3, more="steps:4")
        assert "`steps` is given twice" in text(again.response)
        wrong = await w.ann.slash(w.channel, "train", save_as="nut", more="cropp:0.5")
        assert "`crop`" in text(wrong.response)
    (said,) = desk.heard
    assert isinstance(said, Invocation)
    assert said.options == {
        "save_as": "nut", "steps": 3, "prompts": "a | b", "crop": "0.5", "save_every": "20", "beta1": "0.8",
    }  # fmt: skip


async def test_every_option_of_train_can_be_said_in_more(tmp_path: Path) -> None:
    for name, p in Train.params().items():
        if p.kind != "archive":
            assert more_read(Train, f"{name}:1", {}) == {name: "1"}
    with pytest.raises(Refusal):
        more_read(Train, "words without a name", {"save_as": "nut"})


async def test_one_picture_is_one_picture_still() -> None:
    desk = Desk()
    async with world(desk) as w:
        await w.ann.slash(w.channel, "img2img", prompt="x", image2=("b.png", png("blue")))
        await w.ann.slash(w.channel, "img2img", prompt="x", image=("a.png", png()))
    second, first = desk.heard
    assert [file.name for file in second.options["image"]] == ["b.png"]
    assert first.options["image"].name == "a.png"
    assert desk.files == [png("blue"), png()]
