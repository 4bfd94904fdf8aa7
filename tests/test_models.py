"""Models: the budget holds whatever happens, what is equal is loaded once, the real shapes load, and nothing unsafe."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import shapes
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from safetensors.torch import save_file

from engines import embedded
from engines.diffusion.engine import Diffusion
from engines.engine import Busy, Work
from engines.models.architectures import configs
from engines.models.loading import folder_blueprint, import_libraries, reader
from engines.models.memory import Blueprint, Lease, Models, Piece
from engines.models.single_file import file_blueprint, velocity
from engines.requests import Img2Img, Inpaint, Txt2Img
from engines.words import Refusal

needs_weights = pytest.mark.skipif(
    not (embedded.INPAINT / "model_index.json").is_file(), reason="the embedded models are not trained yet"
)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    import_libraries()


# ------------------------------------------------------------------ the budget, with pieces of known sizes

# model → piece → size; "base" and "tune" share a VAE and words, as fine-tunes do
SHELF = {
    "base": {"words": 20, "vae": 10, "unet-base": 50},
    "tune": {"words": 20, "vae": 10, "unet-tune": 50},
    "other": {"words2": 30, "vae2": 10, "unet2": 40},
    "small": {"vae": 10, "unet-small": 5},
    "huge": {"unet-huge": 500},
}
BUDGET = 120


class Memory:
    """Counts what is really loaded: a piece is in memory as long as somebody refers to it."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.failing = False

    def read(self, name: str, kind: str) -> Blueprint:
        return Blueprint(name, name, tuple(self._piece(*piece) for piece in SHELF[name].items()))

    def _piece(self, hash: str, size: int) -> Piece:
        def load() -> str:
            if self.failing:
                raise OSError("disk gone")
            self.loads.append(hash)
            return f"thing of {hash}"

        return Piece(hash.rstrip("2"), hash, size, load)


class Budget(RuleBasedStateMachine):
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()
        self.models = Models(self.memory.read, budget=BUDGET)
        self.open: list[tuple[str, Lease]] = []

    def _in_use(self) -> dict[str, int]:
        return {hash: size for name, _ in self.open for hash, size in SHELF[name].items()}

    @rule(target=leases, name=st.sampled_from(sorted(SHELF)))
    def lease(self, name: str) -> Any:
        in_use, wanted = self._in_use(), SHELF[name]
        fits = sum({**in_use, **wanted}.values()) <= BUDGET
        before = len(self.memory.loads)
        warm = {hash for hash in wanted if self.models.warm(hash)}
        try:
            lease = self.models.lease(name, "txt2img")
        except Busy:
            assert not fits
            assert sum(wanted.values()) <= BUDGET
            assert warm == {hash for hash in wanted if self.models.warm(hash)}, "evicted for nothing"
            return None
        except Refusal:
            assert sum(wanted.values()) > BUDGET
            return None
        assert fits
        assert set(self.memory.loads[before:]) == set(wanted) - warm, "what is there is not loaded again"
        self.open.append((name, lease))
        return lease

    @rule(lease=consumes(leases))
    def close(self, lease: Lease | None) -> None:
        if lease is not None:
            lease.close()
            lease.close()
            self.open = [(name, mine) for name, mine in self.open if mine is not lease]

    @rule(name=st.sampled_from(sorted(set(SHELF) - {"huge"})))
    def lease_from_a_broken_disk(self, name: str) -> None:
        self.memory.failing = True
        try:
            self.models.lease(name, "txt2img").close()
        except (OSError, Busy):
            pass
        finally:
            self.memory.failing = False

    @rule()
    def clear(self) -> None:
        self.models.clear()
        assert self.models.used == sum(self._in_use().values())

    @invariant()
    def within_the_budget(self) -> None:
        assert self.models.used <= BUDGET

    @invariant()
    def what_is_leased_is_there(self) -> None:
        assert all(self.models.warm(hash) for hash in self._in_use())
        leases = sum(count for _, _, count in self.models.held())
        assert leases == sum(len(SHELF[name]) for name, _ in self.open)


TestBudget = Budget.TestCase
TestBudget.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_least_recently_used_leaves_first() -> None:
    models = Models(Memory().read, budget=130)
    for name in ("base", "other", "base", "tune"):
        models.lease(name, "txt2img").close()
    assert models.warm("unet-base")
    assert not models.warm("unet2")


def test_a_model_larger_than_the_budget_is_refused_with_both_figures() -> None:
    large = Blueprint("sd", "sd", (Piece("unet", "u", 3 * 2**30, object),))
    with pytest.raises(Refusal) as told:
        Models(lambda name, kind: large, budget=2**30).lease("sd", "txt2img")
    assert not isinstance(told.value, Busy)
    assert "3.0 GiB" in told.value.words.en
    assert "1.0 GiB" in told.value.words.ko


# ------------------------------------------------------------------ the embedded models


@needs_weights
def test_the_embedded_models_load_and_siblings_share_what_is_equal() -> None:
    models = Models(reader(None, "cpu", "float32"))
    with models.lease("", "txt2img") as plain, models.lease("", "inpaint") as inpaint:
        a, b = plain.parts, inpaint.parts
        assert (a.in_channels, b.in_channels) == (4, 9)
        assert a.native == b.native == embedded.SIZE
        for role in ("tokenizer", "text_encoder", "vae"):
            if a.hashes[role] == b.hashes[role]:
                assert getattr(a, role) is getattr(b, role)
        assert a.hashes["vae"] == b.hashes["vae"], "the siblings were made with one VAE"
        assert a.hash != b.hash
        assert not a.unet.training
        assert next(a.unet.parameters()).dtype == torch.float32
        with models.lease("defect-studio/mini", "img2img") as again:
            assert again.parts.unet is a.unet


@needs_weights
def test_sizes_told_are_the_sizes_taken() -> None:
    models = Models(reader(None, "cpu", "float32"))
    with models.lease("mini", "txt2img") as lease:
        for role, size, _ in models.held():
            if role != "tokenizer":
                module = getattr(lease.parts, role)
                taken = sum(t.numel() * t.element_size() for t in module.parameters())
                assert size == pytest.approx(taken, rel=0.01)


# ------------------------------------------------------------------ the shapes of the real models

SORTS = [
    pytest.param("sd1", 4, False, id="1.5"),
    pytest.param("sd1", 9, False, id="1.5-inpainting"),
    pytest.param("sd2", 4, True, id="2"),
    pytest.param("sd2", 4, False, id="2-base"),
    pytest.param("sd2", 9, False, id="2-inpainting"),
]


@pytest.mark.parametrize(("base", "channels", "v_prediction"), SORTS)
def test_the_real_shapes_load_and_run(
    tmp_path: Path, base: str, channels: int, v_prediction: bool, picture: tuple[Path, Path]
) -> None:
    shapes.save(tmp_path / "models" / "shape", base, channels, v_prediction=v_prediction)
    models = Models(reader(tmp_path / "models", "cpu", "float32"))
    with models.lease("SHAPE", "inpaint") as lease:
        parts = lease.parts
        assert parts.in_channels == channels
        assert parts.prediction_type == ("v_prediction" if v_prediction else "epsilon")
        assert (parts.native, parts.scale) == (64, 8)
        assert parts.text_encoder.config.hidden_act == ("quick_gelu" if base == "sd1" else "gelu")
        assert parts.tokenizer.pad_token == ("<|endoftext|>" if base == "sd1" else "!")
    photo, mask = picture
    common: dict[str, Any] = {"prompt": "a scratched nut", "model": "shape", "seed": 1, "steps": 3}
    asked = [Inpaint(**common, image="photo", mask="mask")]
    if channels == 4:
        asked += [Txt2Img(**common), Img2Img(**common, image="photo")]
    engine = Diffusion(models)
    for number, request in enumerate(asked):
        folder = tmp_path / str(number)
        folder.mkdir()
        run = engine.begin(Work(number, "kim", request, folder, {"photo": photo, "mask": mask}))
        while not run.finished:
            engine.advance([run])
        made = engine.finish(run)()
        engine.suspend(run)
        assert made[0].path.is_file()
    assert all(leases == 0 for _, _, leases in models.held())


@pytest.fixture
def picture(tmp_path: Path) -> tuple[Path, Path]:
    from PIL import Image, ImageDraw

    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.effect_noise((80, 72), 60).convert("RGB").save(photo)
    white = Image.new("L", (80, 72))
    ImageDraw.Draw(white).rectangle((20, 20, 50, 40), fill=255)
    white.save(mask)
    return photo, mask


def test_the_configurations_are_complete() -> None:
    """Every key of the real UNets that changes the network, as the model repositories tell them."""
    sd2 = configs("sd2", 4, v_prediction=True)
    assert sd2["unet"]["attention_head_dim"] == [5, 10, 20, 20]
    assert sd2["unet"]["use_linear_projection"] is True
    assert sd2["unet"]["sample_size"] == 96
    assert sd2["text_encoder"]["num_hidden_layers"] == 23
    assert sd2["scheduler"]["prediction_type"] == "v_prediction"
    with torch.device("meta"):
        made = shapes.modules(configs("sd1"))
    count = {role: sum(p.numel() for p in module.parameters()) for role, module in made.items()}
    assert count == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}


# ------------------------------------------------------------------ single files


def narrow_file(path: Path, base: str, channels: int, v_prediction: bool) -> tuple[dict[str, Any], Any]:
    """A single file whose cross-attention has the real width, by which families are told apart."""
    width = 768 if base == "sd1" else 1024

    def shape(base: str, channels: int, *, v_prediction: bool) -> dict[str, Any]:
        parts = shapes.narrow(base, channels, v_prediction=v_prediction, width=width)
        parts["text_encoder"] |= {"vocab_size": 500, "intermediate_size": 64, "num_hidden_layers": 1}
        return parts

    made = shapes.modules(shape(base, channels, v_prediction=v_prediction))
    save_file(shapes.original(made, base), path)
    return made, shape


@pytest.mark.parametrize(("base", "channels", "v_prediction"), SORTS)
def test_a_single_file_gives_the_same_weights_without_a_hub(
    tmp_path: Path, base: str, channels: int, v_prediction: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("it asked a network"))
    path = tmp_path / ("v.safetensors" if v_prediction else "some-base.safetensors")
    made, shape = narrow_file(path, base, channels, v_prediction)
    models = Models(lambda name, kind: file_blueprint(name, path, "cpu", "float32", shape))
    with models.lease("v", "inpaint") as lease:
        parts = lease.parts
        assert parts.in_channels == channels
        assert parts.prediction_type == ("v_prediction" if v_prediction else "epsilon")
        for role, module in made.items():
            loaded = getattr(parts, role).state_dict()
            for key, value in module.state_dict().items():
                assert torch.equal(loaded[key], value), f"{role}.{key}"
        ids = parts.tokenizer("a photo of a cat", padding="max_length").input_ids
        end = 49407
        assert ids[:7] == [49406, 320, 1125, 539, 320, 2368, end]  # CLIP's own numbers
        assert set(ids[7:]) == {end if base == "sd1" else 0}


def test_single_files_with_the_same_vae_share_it(tmp_path: Path) -> None:
    made, shape = narrow_file(tmp_path / "a.safetensors", "sd1", 4, False)
    made["unet"].conv_in.bias.data += 1
    save_file(shapes.original(made, "sd1"), tmp_path / "b.safetensors")
    a, b = (file_blueprint(n, tmp_path / f"{n}.safetensors", "cpu", "float32", shape) for n in "ab")
    same = {x.role for x, y in zip(a.pieces, b.pieces, strict=True) if x.hash == y.hash}
    assert same == {"tokenizer", "text_encoder", "vae"}


def test_what_a_file_predicts_is_told_by_its_yaml_or_its_name(tmp_path: Path) -> None:
    assert velocity(tmp_path / "v2-1_768.safetensors")
    assert not velocity(tmp_path / "512-base-ema.safetensors")
    (tmp_path / "mine-base.yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert velocity(tmp_path / "mine-base.safetensors")


def test_a_single_file_without_a_vae_is_refused(tmp_path: Path) -> None:
    made, shape = narrow_file(tmp_path / "a.safetensors", "sd1", 4, False)
    weights = {k: v for k, v in shapes.original(made, "sd1").items() if not k.startswith("first_stage")}
    save_file(weights, tmp_path / "b.safetensors")
    with pytest.raises(Refusal, match="vae"):
        file_blueprint("b", tmp_path / "b.safetensors", "cpu", "float32", shape)


# ------------------------------------------------------------------ nothing unsafe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.save(tmp_path_factory.mktemp("model") / "model", "sd1")


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, tmp_path / "m")
    (model / "unet" / "diffusion_pytorch_model.safetensors").rename(
        model / "unet" / "diffusion_pytorch_model.bin"
    )
    with pytest.raises(Refusal, match="safetensors"):
        folder_blueprint("m", model, "cpu", "float32")


def test_foreign_classes_are_refused(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, tmp_path / "m")
    index = json.loads((model / "model_index.json").read_text())
    index["unet"] = ["my_remote_code", "EvilUNet"]
    (model / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(Refusal, match="EvilUNet"):
        folder_blueprint("m", model, "cpu", "float32")


def test_half_precision_files_are_taken_where_there_are_no_others(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, tmp_path / "m")
    for role, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        (model / role / f"{name}.safetensors").rename(model / role / f"{name}.fp16.safetensors")
    models = Models(lambda name, kind: folder_blueprint(name, model, "cpu", "bfloat16"))
    with models.lease("m", "txt2img") as lease:
        assert lease.parts.unet.dtype == torch.bfloat16
        assert lease.parts.text_encoder.dtype == torch.bfloat16
        assert lease.parts.vae.dtype == torch.bfloat16


def test_a_changed_file_is_another_model(folder: Path, tmp_path: Path) -> None:
    model = copied(folder, tmp_path / "m")
    before = folder_blueprint("m", model, "cpu", "float32")
    assert before.hash == folder_blueprint("n", folder, "cpu", "float32").hash, "a copy is the same model"
    other = shapes.modules(shapes.narrow("sd1"), seed=9)
    other["vae"].save_pretrained(model / "vae")
    after = folder_blueprint("m", model, "cpu", "float32")
    changed = {x.role for x, y in zip(before.pieces, after.pieces, strict=True) if x.hash != y.hash}
    assert changed == {"vae"}
    assert before.hash != after.hash
