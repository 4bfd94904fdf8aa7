"""Networks that remove backgrounds: read without their libraries' packages, and RMBG-1.4 as its library has it."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from background_world import ROOT, engine, made, none, photo, work
from PIL import Image

from engines.background import lone, networks
from engines.background.engine import RemoveBackgrounds
from engines.background.networks import Rmbg, finder
from engines.models import downloadable, moving
from engines.models.downloadable import Download, File
from engines.models.host import HostCache
from engines.models.memory import Models
from engines.words import Refusal


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
