"""Removing backgrounds: real photographs, and the real network that comes with us."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from background_world import PHOTOS, U2NETP, engine, made, needs_network, photo, work
from PIL import Image

from engines import recipe
from engines.background.engine import KEPT, RemoveBackgrounds
from engines.background.networks import NETWORK, Onnx
from engines.background.request import RemoveBackground
from engines.devices import Device
from engines.engine import Work
from engines.events import Finished
from engines.models import downloadable
from engines.serving.pool import Pool
from engines.words import Refusal


@pytest.fixture(scope="module")
def shared() -> Iterator[RemoveBackgrounds]:
    """The real network, which looks at each picture once."""
    seen: dict[bytes, Image.Image] = {}
    look = Onnx.masks

    def masks(self: Onnx, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        for picture in pictures:
            if picture.tobytes() not in seen:
                seen[picture.tobytes()] = look(self, [picture])[0]
        return [seen[picture.tobytes()] for picture in pictures]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Onnx, "masks", masks)
        yield engine()


@needs_network
def test_the_cup_stays_and_the_table_goes(shared: RemoveBackgrounds, tmp_path: Path) -> None:
    coffee = photo("coffee")
    artifact, picture, notes = made(shared, work(tmp_path, coffee))
    assert (picture.mode, picture.size) == ("RGBA", coffee.size)
    values, alpha = np.asarray(coffee), np.asarray(picture.getchannel("A"))
    assert alpha[200, 300] > 250, "the cup"
    assert alpha[10, 10] == alpha[390, 590] == alpha[20, 580] == 0, "the table"
    assert 0.2 < np.mean(alpha > 128) < 0.7
    colours = np.asarray(picture)[..., :3]
    assert (colours[alpha == 255] == values[alpha == 255]).all(), "the photo's own bytes"
    assert (colours[alpha == 0] == 0).all(), "nothing of the background is left, not even hidden"
    assert notes == []
    told = recipe.read(artifact.path.read_bytes())
    assert told is not None
    assert told == artifact.recipe
    assert told["request"]["model"] == told["model"] == "u2netp"
    assert told["hash"] == downloadable.named("u2netp").file.sha256  # type: ignore[union-attr]
    assert set(told["versions"]) == {"defect-studio", "rembg", "onnxruntime"}


@needs_network
@pytest.mark.parametrize("name", PHOTOS)
def test_the_mask_is_rembgs_own(shared: RemoveBackgrounds, tmp_path: Path, name: str) -> None:
    """Peer: rembg's session on the whole photo, in one go."""
    picture = photo(name).convert("RGB")
    _, mask, _ = made(shared, work(tmp_path, picture, mask_only=True))
    session = Onnx("u2netp", U2NETP or Path(), threads=1)._session
    assert mask.tobytes() == session.predict(picture)[0].tobytes()


REMOVE = """
import sys, rembg
from PIL import Image
session = rembg.new_session("u2netp")
for name in sys.argv[1:]:
    photo = Image.open(f"{name}.png")
    for kind, more in {
        "mask": {"only_mask": True},
        "solid": {"only_mask": True, "post_process_mask": True},
        "plain": {},
        "alpha": {"putalpha": True},
        "colour": {"putalpha": True, "bgcolor": (255, 136, 0, 255)},
    }.items():
        rembg.remove(photo.copy(), session=session, **more).save(f"{name}-{kind}.png")
"""


@pytest.mark.slow
@pytest.mark.timeout(600)  # rembg's import takes minutes once
@needs_network
def test_the_whole_library_makes_the_same_of_every_photo(shared: RemoveBackgrounds, tmp_path: Path) -> None:
    """Peer: `rembg.remove` as its users call it, in a process of its own, under each option that we have too."""
    assert U2NETP is not None
    (tmp_path / "models" / "u2netp").mkdir(parents=True)
    (tmp_path / "models" / "u2netp" / "u2netp.onnx").symlink_to(U2NETP)
    for name in PHOTOS:
        photo(name).convert("RGB").save(tmp_path / f"{name}.png")
    env = {**os.environ, "U2NET_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", REMOVE, *PHOTOS], check=True, env=env, cwd=tmp_path, timeout=570)

    def theirs(name: str, kind: str, mode: str) -> Any:
        with Image.open(tmp_path / f"{name}-{kind}.png") as made:
            return np.asarray(made.convert(mode), int)

    def ours(name: str, number: int, **asked: Any) -> Any:
        return np.asarray(made(shared, work(tmp_path, photo(name), number, **asked))[1], int)

    for number, name in enumerate(PHOTOS):
        assert (ours(name, 10 * number, mask_only=True) == theirs(name, "mask", "L")).all(), name
        hard = ours(name, 10 * number + 3, mask_only=True, solid=True)
        assert (hard == theirs(name, "solid", "L")).all(), name
        cut, alpha = ours(name, 10 * number + 1), theirs(name, "alpha", "RGBA")
        assert (cut[..., 3] == alpha[..., 3]).all(), name
        assert (cut == alpha)[alpha[..., 3] > 0].all(), name
        plain = theirs(name, "plain", "RGBA")  # without `putalpha` it darkens what is half there
        share = plain[..., 3:] / 255
        assert (cut[..., 3:] == plain[..., 3:]).all(), name
        assert np.abs(cut[..., :3] * share - plain[..., :3]).max() <= 1, name
        colour = ours(name, 10 * number + 2, background="#ff8800")
        assert np.abs(colour - theirs(name, "colour", "RGB")).max() <= 1, name


@needs_network
def test_every_mode_a_photo_may_have(shared: RemoveBackgrounds, tmp_path: Path) -> None:
    coffee = photo("coffee")
    grey = coffee.convert("L")
    _, picture, _ = made(shared, work(tmp_path, grey, 1))
    solid = np.asarray(picture)[np.asarray(picture)[..., 3] == 255]
    assert picture.mode == "RGBA"
    assert (solid[:, 0] == np.asarray(grey)[np.asarray(picture)[..., 3] == 255]).all()
    assert (solid[:, 0] == solid[:, 1]).all()

    hole = coffee.convert("RGBA")
    hole.paste((0, 0, 0, 0), (280, 180, 320, 220))
    alpha = np.asarray(made(shared, work(tmp_path, hole, 2))[1].getchannel("A"))
    assert (alpha[180:220, 280:320] == 0).all(), "what was transparent stays so"
    assert alpha[250, 300] > 250

    deep = Image.frombytes("I;16", coffee.size, (np.asarray(grey).astype("<u2") * 16).tobytes())
    _, picture, notes = made(shared, work(tmp_path, deep, 3))
    assert picture.mode == "RGBA"
    assert np.asarray(picture)[..., :3].max() > 200, "stretched to what can be seen"
    assert "16-bit" in notes[0]
    _, picture, notes = made(shared, work(tmp_path, deep, 4, mask_only=True))
    assert (picture.mode, picture.size, notes) == ("L", coffee.size, [])


@needs_network
def test_options(shared: RemoveBackgrounds, tmp_path: Path) -> None:
    coffee = photo("coffee")
    _, clear, _ = made(shared, work(tmp_path, coffee, 1))
    _, white, _ = made(shared, work(tmp_path, coffee, 2, background="#ffffff"))
    _, cropped, _ = made(shared, work(tmp_path, coffee, 3, crop=True))
    _, soft, _ = made(shared, work(tmp_path, coffee, 4, feather=9))
    assert (white.mode, white.size) == ("RGB", coffee.size)
    assert white.getpixel((0, 0)) == (255, 255, 255)
    assert white.getpixel((300, 200)) == coffee.getpixel((300, 200))
    box = clear.getchannel("A").point(lambda v: 255 * (v >= 26)).getbbox()
    assert box is not None
    assert cropped.tobytes() == clear.crop(box).tobytes()
    assert cropped.size < coffee.size
    assert np.asarray(soft.getchannel("A"), int).sum() < np.asarray(clear.getchannel("A"), int).sum()


@needs_network
def test_a_batch_is_each_alone_and_all_or_none(
    shared: RemoveBackgrounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [photo("coffee"), photo("coins")]
    alone = [
        made(shared, work(tmp_path, picture, i))[0].path.read_bytes() for i, picture in enumerate(pictures)
    ]
    runs = [shared.begin(work(tmp_path, picture, 10 + i)) for i, picture in enumerate(pictures)]
    assert runs[0].key == runs[1].key

    def breaks(self: Onnx, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        raise ZeroDivisionError

    monkeypatch.setattr(Onnx, "masks", breaks)
    with pytest.raises(ZeroDivisionError):
        shared.advance(runs)
    assert [run.done for run in runs] == [0, 0]
    assert runs[0].mask is None
    monkeypatch.undo()
    shared.advance(runs)
    packings = [shared.finish(run) for run in runs]
    for run in runs:
        shared.suspend(run)
    assert [packing()[0].path.read_bytes() for packing in packings] == alone


@needs_network
def test_the_network_stays_within_the_budget(tmp_path: Path) -> None:
    by = engine()
    first, second = (by.begin(work(tmp_path, photo("coins"), i)) for i in (1, 2))
    assert first.lease.things[NETWORK] is second.lease.things[NETWORK], "loaded once"
    assert [leases for _, _, leases in by._models.held()] == [2]
    by.suspend(first)
    by.suspend(second)
    assert [leases for _, _, leases in by._models.held()] == [0], "still there, and nobody's"
    third = by.begin(work(tmp_path, photo("coins"), 3))
    by.suspend(third)
    with pytest.raises(Refusal, match="of memory"):
        engine(budget=1000).begin(work(tmp_path, photo("coins"), 4))


@needs_network
def test_photos_prepared_and_never_begun_do_not_pile_up(shared: RemoveBackgrounds, tmp_path: Path) -> None:
    tiny = photo("coins").resize((16, 16))
    for number in range(KEPT + 5):
        shared.prepare(work(tmp_path, tiny, number))
    assert shared.waiting == KEPT
    run = shared.begin(
        Work(0, "kim", RemoveBackground(image="blob"), tmp_path / "0", {"blob": tmp_path / "0/blob"})
    )
    shared.suspend(run)  # pushed out, and looked at again
    with pytest.raises(Refusal, match="no longer stored"):
        shared.prepare(Work(1, "kim", RemoveBackground(image="gone"), tmp_path, {"gone": tmp_path / "none"}))


@needs_network
def test_a_photo_of_nothing_is_no_crash(shared: RemoveBackgrounds, tmp_path: Path) -> None:
    for number, colour in enumerate(["black", "white", (120, 130, 140)]):
        artifact, picture, _ = made(
            shared, work(tmp_path, Image.new("RGB", (40, 30), colour), number, crop=True)
        )
        assert 0 < picture.width <= 40
        assert (artifact.width, artifact.height) == picture.size


@needs_network
def test_another_file_by_its_name_is_not_used(tmp_path: Path) -> None:
    assert U2NETP is not None
    data = bytearray(U2NETP.read_bytes())
    data[-100] ^= 1
    (tmp_path / "u2netp.onnx").write_bytes(data)
    with pytest.raises(Refusal, match="SHA-256"):
        engine(folder=tmp_path).prepare(work(tmp_path, photo("coins")))


@needs_network
async def test_through_the_pool(shared: RemoveBackgrounds, tmp_path: Path) -> None:
    by = shared
    pool = Pool({RemoveBackground: lambda device: by}, [Device("cpu")])
    await pool.start()
    try:

        async def follow(number: int) -> list[Any]:
            async with aclosing(pool.run(work(tmp_path, photo("coffee"), number))) as events:
                return [event async for event in events]

        told = await asyncio.gather(*(follow(number) for number in (1, 2, 3)))
    finally:
        await pool.stop(5)
    ends = [events[-1] for events in told]
    assert all(isinstance(end, Finished) for end in ends), ends
    assert len({end.artifacts[0].path.read_bytes() for end in ends}) == 1
    assert [leases for _, _, leases in by._models.held()] == [0]


@needs_network
def test_a_hazy_mask_is_told_with_the_way_out(shared: RemoveBackgrounds, tmp_path: Path) -> None:
    """Between the coins hangs a cloud."""
    _, _, notes = made(shared, work(tmp_path, photo("coins"), 1))
    assert ["`solid:yes`" in note for note in notes] == [True]
    _, picture, notes = made(shared, work(tmp_path, photo("coins"), 2, solid=True))
    assert (np.unique(np.asarray(picture)[..., 3]).tolist(), notes) == ([0, 255], [])
