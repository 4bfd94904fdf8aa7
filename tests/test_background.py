"""Removing backgrounds: real photographs, the real networks, and what is made of a mask."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engines import recipe
from engines.background import lone, networks
from engines.background.cutout import cut_out, softened, solid
from engines.background.engine import KEPT, RemoveBackgrounds
from engines.background.networks import NETWORK, Onnx, Rmbg, finder
from engines.background.request import RemoveBackground
from engines.devices import Device
from engines.engine import Work
from engines.events import Artifact, Finished
from engines.models import catalogue, downloadable, moving
from engines.models.downloadable import Download, File
from engines.models.host import HostCache
from engines.models.memory import Models
from engines.serving.pool import Pool
from engines.words import Refusal

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "studio-data" / "models"  # where `make test` fetches it
U2NETP = catalogue.find("u2netp", None, MODELS).path

PHOTOS = ("coffee", "chelsea", "coins")
needs_network = pytest.mark.skipif(
    U2NETP is None, reason="u2netp is not here: `defect-studio models fetch u2netp` in the repository"
)


def photo(name: str) -> Image.Image:
    """One of scikit-image's CC0 photographs."""
    import skimage.data

    return Image.fromarray(getattr(skimage.data, name)())


def none(name: str, kind: str) -> Any:
    raise AssertionError("only diffusion is read this way")


def engine(budget: int | None = None, folder: Path = MODELS) -> RemoveBackgrounds:
    return RemoveBackgrounds(Models(none, budget=budget), finder(folder, "cpu", threads=1))


def work(folder: Path, image: Image.Image, number: int = 1, **asked: Any) -> Work:
    own = folder / str(number)
    own.mkdir()
    image.save(own / "blob", "PNG")
    return Work(number, "kim", RemoveBackground(image="blob", **asked), own, {"blob": own / "blob"})


def made(by: RemoveBackgrounds, asked: Work) -> tuple[Artifact, Image.Image, list[str]]:
    """One photo all the way: the file, the picture in it, the notes."""
    by.prepare(asked)
    run = by.begin(asked)
    by.advance([run])
    packing, notes = by.finish(run), [words.en for words in run.notes]
    by.suspend(run)
    (artifact,) = packing()
    with Image.open(artifact.path) as picture:
        picture.load()
    return artifact, picture, notes


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


# ------------------------------------------------------------------ the network that comes with us


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


def test_rembg_itself_is_not_imported() -> None:
    """It would compile numba code, for minutes the first time."""
    code = (
        "import sys; from engines.background import networks; networks.import_libraries('birefnet-general');"
        "print(*[m for m in ('rembg', 'numba', 'pymatting', 'iopaint', 'torch') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=170
    )
    assert said.stdout.strip() == ""


def test_one_module_is_taken_without_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "heavy_outside" / "inner"
    inner.mkdir(parents=True)
    for init in (inner.parent / "__init__.py", inner / "__init__.py"):
        init.write_text("raise SystemExit('imported')")
    (inner / "base.py").write_text("VALUE = 7")
    (inner / "wanted.py").write_text("from .base import VALUE")
    monkeypatch.syspath_prepend(tmp_path)
    assert lone.module("heavy_outside.inner", "wanted").VALUE == 7
    assert "heavy_outside" not in sys.modules
    with pytest.raises(ImportError):
        lone.module("heavy_outside.inner", "unknown")
    with pytest.raises(ImportError):
        lone.module("no_such_package", "wanted")


def test_every_network_can_be_loaded_and_fetched() -> None:
    offered = {one.name for one in downloadable.KNOWN if one.kind == "removebg"}
    assert offered == set(networks.DESIGNS)
    for name, design in networks.DESIGNS.items():
        if design.session:
            assert getattr(lone.module("rembg.sessions", design.session[0]), design.session[1]).name() == name


# ------------------------------------------------------------------ RMBG-1.4


@pytest.fixture(scope="module")
def hub_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with RMBG-1.4 as its hub page lays it out; weights by chance, in the real class's shapes."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models")
    (folder / "rmbg-1.4").mkdir()
    torch.manual_seed(0)
    with torch.device("cpu"):
        weights = lone.module("iopaint.plugins", "briarmbg").BriaRMBG().state_dict()
    save_file(weights, folder / "rmbg-1.4" / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def rmbg(hub_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The catalogue knows this copy by its own sum; the file."""
    path = hub_copy / "rmbg-1.4" / "model.safetensors"
    sum = hashlib.sha256(path.read_bytes()).hexdigest()
    real = downloadable.named("rmbg-1.4")
    assert real is not None
    stand_in = Download("rmbg-1.4", "removebg", real.licence, File(path.name, path.stat().st_size, sum, ()))
    monkeypatch.setattr(downloadable, "KNOWN", (stand_in,))
    return path


def test_rmbg_loads_into_the_librarys_class(
    rmbg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at a smaller square than it was trained on, for a quick answer."""
    import torch
    from safetensors.torch import load_file

    design = dataclasses.replace(networks.DESIGNS["rmbg-1.4"], side=128)
    monkeypatch.setattr(networks, "DESIGNS", {"rmbg-1.4": design})
    pictures = [photo("coffee").resize((128, 128)), photo("chelsea").resize((128, 128))]
    by = engine(folder=rmbg.parents[1])
    asked = [
        work(tmp_path, picture, i, model="rmbg-1.4", mask_only=True) for i, picture in enumerate(pictures)
    ]
    runs = [by.begin(one) for one in asked]
    assert runs[0].rows * runs[0].row_bytes > 800_000_000, "what a picture takes is said"
    by.advance(runs)
    masks = [np.asarray(run.mask, int) for run in runs]
    assert by._models.used == pytest.approx(rmbg.stat().st_size, rel=0.01), "as large as its weights"
    for run in runs:
        by.suspend(run)

    peer = lone.module("iopaint.plugins", "briarmbg").BriaRMBG()
    peer.load_state_dict(load_file(rmbg))
    for picture, mask in zip(pictures, masks, strict=True):
        seen = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255 - 0.5
        with torch.inference_mode():
            said = peer.eval()(seen)[0][0][0, 0].numpy()
        expected = (said - said.min()) / (said.max() - said.min()) * 255
        assert np.abs(mask - expected).max() <= 2, "a batch is each alone"
        assert (mask.min(), mask.max()) == (0, 255)


def test_rmbg_read_ahead_is_copied_to_the_device_and_back(rmbg: Path, tmp_path: Path) -> None:
    """Through the very copies that a GPU gets, onto the CPU."""
    host = HostCache(10**9, moving.to_device, moving.to_host)
    models = Models(none, host=host)
    by = RemoveBackgrounds(models, finder(rmbg.parents[1], "cpu", threads=1))
    asked = work(tmp_path, photo("coffee"), model="rmbg-1.4")
    assert not by.ready(asked)
    by.prepare(asked)
    by.prefetch(asked, lambda: True)
    assert (models.used, host.used) == (0, pytest.approx(rmbg.stat().st_size, rel=0.01))
    assert not by.ready(asked)
    ones = Image.new("RGB", (64, 64), "red")
    said = []
    for _ in range(2):
        run = by.begin(asked)
        assert by.ready(asked)
        said.append(run.lease.things[networks.NETWORK].masks([ones])[0])
        by.suspend(run)
        models.clear()
    assert said[0] == said[1]


@pytest.mark.slow
def test_rmbg_is_what_iopaint_makes_of_it(rmbg: Path, tmp_path: Path) -> None:
    """Peer: IOPaint's own function, with its own network of the same weights, at full size."""
    import torch
    from safetensors.torch import load_file

    picture = photo("coffee").resize((1024, 1024), Image.Resampling.BILINEAR)
    by = engine(folder=rmbg.parents[1])
    artifact, mask, _ = made(by, work(tmp_path, picture, model="briaai/RMBG-1.4", mask_only=True))
    assert artifact.recipe["model"] == "rmbg-1.4"
    library = lone.module("iopaint.plugins", "briarmbg")
    peer = library.BriaRMBG()
    peer.load_state_dict(load_file(rmbg))
    with torch.inference_mode():
        expected = library.briarmbg_process("cpu", np.asarray(picture), peer.eval(), only_mask=True)
    assert np.abs(np.asarray(mask, int) - expected.astype(int)).max() <= 1


def test_a_file_that_is_no_rmbg(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(Refusal, match="does not hold the weights"):
        Rmbg.read(tmp_path / "model.safetensors")


# ------------------------------------------------------------------ from the mask to the picture

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Image.Image, Image.Image]:
    """A photo of any mode and a mask of its size."""
    (width, height), mode = draw(sizes), draw(st.sampled_from(["L", "RGB", "RGBA", "I;16"]))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    many = {"L": 1, "RGB": 3, "RGBA": 4, "I;16": 2}[mode]
    photo = Image.frombytes(mode, (width, height), rng.bytes(width * height * many))
    mask = rng.choice(np.array([0, 7, 128, 250, 255], np.uint8), (height, width))
    return photo, Image.fromarray(mask)


@settings(max_examples=150, deadline=None)
@given(case=cases(), feather=st.integers(0, 4))
def test_transparent(case: tuple[Image.Image, Image.Image], feather: int) -> None:
    photo, mask = case
    made = np.asarray(cut_out(photo, mask, RemoveBackground(image="", feather=feather)))
    assert made.shape == (photo.height, photo.width, 4)
    alpha = made[..., 3]
    assert (alpha <= np.asarray(mask)).all(), "never more than the network saw"
    if photo.mode == "RGBA":
        assert (alpha <= np.asarray(photo)[..., 3]).all()
    assert (made[alpha == 0] == 0).all()
    if photo.mode != "I;16":
        own = np.asarray(photo.convert("RGB"))
        assert (made[..., :3][alpha == 255] == own[alpha == 255]).all()


@needs_network
def test_a_hazy_mask_is_told_with_the_way_out(shared: RemoveBackgrounds, tmp_path: Path) -> None:
    """Between the coins hangs a cloud."""
    _, _, notes = made(shared, work(tmp_path, photo("coins"), 1))
    assert ["`solid:yes`" in note for note in notes] == [True]
    _, picture, notes = made(shared, work(tmp_path, photo("coins"), 2, solid=True))
    assert (np.unique(np.asarray(picture)[..., 3]).tolist(), notes) == ([0, 255], [])


def test_solid_has_no_haze_and_no_specks() -> None:
    alpha = np.zeros((60, 60), np.uint8)
    alpha[10:50, 10:30] = 255
    alpha[10:50, 40:58] = 90  # a cloud
    alpha[5, 5] = 255  # a speck
    made = solid(alpha)
    assert set(np.unique(made)) == {0, 255}
    assert (made[12:48, 12:28] == 255).all()
    assert (made[:, 33:] == 0).all()
    assert made[5, 5] == 0


@settings(max_examples=100, deadline=None)
@given(case=cases(), colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_on_a_colour(case: tuple[Image.Image, Image.Image], colour: tuple[int, int, int]) -> None:
    photo, mask = case
    said = "#{:02x}{:02x}{:02x}".format(*colour)
    made = cut_out(photo, mask, RemoveBackground(image="", background=said))
    clear = np.asarray(cut_out(photo, mask, RemoveBackground(image="")), int)
    values, alpha = np.asarray(made, int), clear[..., 3:]
    assert made.mode == "RGB"
    assert (values[alpha[..., 0] == 0] == colour).all()
    expected = (clear[..., :3] * alpha + np.array(colour) * (255 - alpha)) / 255
    assert np.abs(values - expected).max() <= 0.5


@settings(max_examples=100, deadline=None)
@given(case=cases(), colour=st.sampled_from(["", "white"]), only=st.booleans())
def test_crop_is_the_object_and_nothing_else(
    case: tuple[Image.Image, Image.Image], colour: str, only: bool
) -> None:
    photo, mask = case
    options: dict[str, Any] = {"image": "", "background": colour, "mask_only": only}
    whole = cut_out(photo, mask, RemoveBackground(**options))
    cropped = cut_out(photo, mask, RemoveBackground(**options, crop=True))
    alpha = np.asarray(cut_out(photo, mask, RemoveBackground(image="", mask_only=True)))
    rows, columns = np.nonzero(alpha >= 26)
    if not len(rows):
        assert cropped.tobytes() == whole.tobytes(), "nothing to crop to"
        return
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert cropped.tobytes() == whole.crop(box).tobytes()


def test_the_soft_edge_is_inside_and_not_at_the_photos_border() -> None:
    alpha = np.zeros((40, 40), np.uint8)
    alpha[10:30, 0:20] = 255
    soft = softened(alpha, 4)
    assert (soft[alpha == 0] == 0).all()
    ramp = soft[20, 14:21].astype(int)
    assert (np.diff(ramp) <= 0).all()
    assert (ramp[0], ramp[-2], ramp[-1]) == (255, 51, 0)
    assert (soft[20, :14] == 255).all(), "the photo's border is no edge"
    assert (softened(alpha, 0) == alpha).all()
    everything = np.full((5, 5), 255, np.uint8)
    assert (softened(everything, 9) == 255).all()


# ------------------------------------------------------------------ the form


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("", ""),
        ("none", ""),
        ("투명", ""),
        (" White ", "white"),
        ("흰색", "white"),
        ("#F80", "#f80"),
        ("#ff8800", "#ff8800"),
        ("rgb(1,2,3)", "rgb(1,2,3)"),
    ],
)
def test_colours_people_say(said: str, meant: str) -> None:
    form, notes = RemoveBackground.fill({"image": "x", "background": said})
    assert (form.background, notes) == (meant, ())


@pytest.mark.parametrize("said", ["whiteish", "#12", "1,2,3", "#gggggg", "rgb(1,2)"])
def test_no_colour_is_refused_before_anything_is_promised(said: str) -> None:
    with pytest.raises(Refusal) as no:
        RemoveBackground.fill({"image": "x", "background": said})
    assert said in no.value.words.ko
    assert "#rrggbb" in no.value.words.en


def test_what_does_not_go_together_is_told() -> None:
    _, notes = RemoveBackground.fill({"image": "x", "mask_only": "yes", "bg": "red"})
    assert "`background` was not used" in notes[0].en
    assert RemoveBackground(image="x", model="birefnet-general").cost > RemoveBackground(image="x").cost
