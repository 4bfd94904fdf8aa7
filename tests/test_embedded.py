"""The procedural world, and the shipped models as a user loads them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.embedded import CLIP, DEFECTS, INPAINT, MODEL_CARD, PRODUCTS, TXT2IMG, WEIGHTS, sample
from engines.embedded.canvas import Canvas, mix
from engines.embedded.captions import article, caption, simple
from engines.embedded.pool import HELD_OUT, held_out
from engines.embedded.world import VISIBLE, compose, draw

pytestmark = pytest.mark.usefixtures("one_thread")

FLOOR_DB = 30.0
"""What the shipped VAE must keep on eight held-out pictures; the model card has the full figure."""


def test_importing_the_package_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, engines.embedded; sys.exit(bool({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib; from engines.embedded.world import draw; s = draw(5, 'wood', 'crack');"
        "print(hashlib.sha256(s.image.tobytes() + s.mask.tobytes()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
    scene = draw(5, "wood", "crack")
    assert other == hashlib.sha256(scene.image.tobytes() + scene.mask.tobytes()).hexdigest()


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_mask_is_exactly_where_the_defect_changed_a_pixel(product: str) -> None:
    for seed, defect in enumerate(DEFECTS):
        scene = draw(seed, product, defect)
        changed = (scene.image != scene.clean).any(axis=2)
        assert ((scene.mask > 0) == changed).all()
        assert np.abs(scene.image.astype(int) - scene.clean).max(axis=2)[changed].min() >= VISIBLE
        assert 60 <= changed.sum() < 0.4 * changed.size
        assert (scene.clean == draw(seed, product).image).all()


def test_seeds_differ_and_sample_gives_pictures() -> None:
    assert (draw(1, "tile").image != draw(2, "tile").image).any()
    image, mask = sample(1, "metal nut", "scratch")
    assert image.size == mask.size == (128, 128)
    assert (image.mode, mask.mode) == ("RGB", "L")
    assert sample(1, "metal nut")[1].getextrema() == (0, 0)
    with pytest.raises(KeyError):
        sample(1, "metal nut", "rust")


def test_the_world_takes_a_defect_it_never_had() -> None:
    def burn(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
        return mix(canvas.rgb, (0.0, 0.0, 0.0), (canvas.room > 0.5).astype(np.float32) * 0.7)

    from engines.embedded.products import wood

    scene = compose(3, "wood", wood, "burn", burn)
    assert scene.mask.max() == 255
    assert (scene.clean == draw(3, "wood").image).all()


def test_captions_read_like_what_people_type() -> None:
    assert simple("metal nut", "scratch") == "a photo of a metal nut with a scratch"
    assert simple("wood") == "a photo of wood"
    assert article("scratched leather") == "scratched leather"
    rng = np.random.default_rng(0)
    said = {caption(rng, "metal nut", "scratch") for _ in range(500)}
    assert {"a photo of a scratched metal nut", "a photo of a metal nut with a scratch"} <= said


def test_shipped_files_are_small_and_described() -> None:
    files = [p for p in WEIGHTS.rglob("*") if p.is_file() and not p.is_symlink()]
    once = {p.resolve() for p in files}
    assert sum(p.stat().st_size for p in once) <= 32e6
    assert not [p for p in once if p.suffix in {".bin", ".pt", ".pkl", ".ckpt"}]
    assert "Apache-2.0" in MODEL_CARD.read_text()
    assert all(not link.readlink().is_absolute() for link in WEIGHTS.rglob("*") if link.is_symlink())


@pytest.mark.parametrize(
    "words",
    ["a photo of a scratched metal nut", "금속 너트 스크래치", "갸웃 zxqv 🙂", "", "x" * 5000, "Ünïcode — ½"],
)
def test_any_words_have_tokens(words: str) -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(TXT2IMG / "tokenizer")
    ids = tokenizer(
        words, padding="max_length", truncation=True, max_length=tokenizer.model_max_length
    ).input_ids
    assert len(ids) == tokenizer.model_max_length == 77
    assert max(ids) == ids[-1] == tokenizer.eos_token_id == len(tokenizer) - 1
    inner = [i for i in ids[1:] if i != tokenizer.eos_token_id]
    assert bool(inner) == bool(words)


def test_plain_diffusers_draws_from_words() -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(TXT2IMG)
    pipe.set_progress_bar_config(disable=True)
    assert (pipe.dtype, pipe.vae_scale_factor) == (torch.float32, 4)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    again = [
        pipe(
            "a photo of a tile",
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
        )
        for _ in range(2)
    ]
    assert again[0].images.shape == (1, 128, 128, 3)
    assert np.isfinite(again[0].images).all()
    assert (again[0].images == again[1].images).all()


def test_plain_diffusers_inpaints_and_shares_the_files() -> None:
    from diffusers import StableDiffusionInpaintPipeline

    pipe = StableDiffusionInpaintPipeline.from_pretrained(INPAINT)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.unet.config.in_channels == 9
    image, mask = sample(HELD_OUT, "leather", "stain")
    out = pipe(
        "a stain",
        image=image,
        mask_image=mask,
        height=128,
        width=128,
        num_inference_steps=2,
        output_type="np",
    )
    assert np.isfinite(out.images).all()
    body = "diffusion_pytorch_model-00001-of-00002.safetensors"
    assert (INPAINT / "unet" / body).resolve() == (TXT2IMG / "unet" / body).resolve()


def test_the_vae_keeps_pictures_and_is_standardised() -> None:
    from diffusers import AutoencoderKL

    from engines.embedded.vae import psnr, round_trip, to_tensor

    codec = AutoencoderKL.from_pretrained(TXT2IMG / "vae").eval()
    real = held_out(8)
    assert psnr(real.image, round_trip(codec, real.image)).mean() >= FLOOR_DB
    with torch.no_grad():
        latents = codec.encode(to_tensor(real.image)).latent_dist.mean
    assert abs(float(latents.mean())) < 0.5
    assert 0.7 < float(latents.std()) < 1.4


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_clip_names_products() -> None:
    import open_clip
    from PIL import Image

    name = f"local-dir:{CLIP}"
    model, _, look = open_clip.create_model_and_transforms(name)
    say = open_clip.get_tokenizer(name)
    real = held_out(18)
    with torch.no_grad():
        seen = model.eval().encode_image(
            torch.stack([look(Image.fromarray(i)) for i in real.image]), normalize=True
        )
        said = model.encode_text(say([simple(p) for p in PRODUCTS]), normalize=True)
    assert float(np.mean((seen @ said.T).argmax(1).numpy() == real.product)) >= 0.8


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_the_text_encoder_can_start_as_clips_text_tower() -> None:
    import open_clip

    from engines.embedded import text

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{CLIP}")
    tokenizer = text.open_tokenizer()
    encoder = text.build(tokenizer).eval()
    text.learn_from_clip(encoder, model.eval().state_dict())
    words = text.ids(tokenizer, [simple("wood", "crack"), simple("metal nut"), "금속 너트"])
    with torch.no_grad():
        ours, theirs = encoder(words).pooler_output @ model.text_projection, model.encode_text(words)
    assert float((ours - theirs).norm() / theirs.norm()) < 0.02  # quick_gelu for gelu is the difference


def test_training_stopped_and_resumed_equals_training_straight_through(tmp_path: Path) -> None:
    from engines.embedded import loop

    def loss_of(
        module: torch.nn.Module, rng: np.random.Generator, step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.from_numpy(rng.standard_normal((4, 6))).float()
        return (module(x) - x.sum(1, keepdim=True) + 0.1 * torch.randn(4, 1)).pow(2).mean(), {}

    def run(work: Path, stops: tuple[int, ...]) -> dict[str, torch.Tensor]:
        for stop in stops:
            torch.manual_seed(0)
            module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
            plan = loop.Plan(steps=12, rate=1e-2, warm_up=3, save_every=4, muon_rate=0.02)
            loop.train("toy", module, plan, work, loss_of, until=stop)
        return loop.train("toy", module, plan, work, loss_of)

    straight, broken = run(tmp_path / "a", (12,)), run(tmp_path / "b", (4, 8, 12))
    assert all(torch.equal(straight[k], broken[k]) for k in straight)


def test_training_goes_on_with_the_tokens_that_the_weights_know() -> None:
    from engines.embedded import text

    shipped = json.loads((WEIGHTS / "txt2img" / "tokenizer" / "vocab.json").read_text())
    assert text.open_tokenizer().get_vocab() == shipped


def test_a_dead_branch_begins_anew_and_live_ones_stay(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    from engines.embedded import diffusion, pool, text

    torch.manual_seed(0)
    painter, data = diffusion.Painter(text.open_tokenizer()), pool.open_pool(tmp_path, 6)
    vae = AutoencoderKL.from_pretrained(TXT2IMG / "vae").eval()
    teacher = diffusion.Teacher(
        vae, text.open_tokenizer(), data, diffusion.Latents(vae, data, "cpu"), 2, 2, "cpu"
    )
    assert diffusion.revive(painter, teacher) == [], "fresh weights are alive"
    dead = painter.unet.mid_block.resnets[0]
    with torch.no_grad():
        dead.norm2.bias.fill_(-6.0)
    before = {name: value.clone() for name, value in painter.state_dict().items()}
    assert diffusion.revive(painter, teacher) == ["mid_block.resnets.0"]
    changed = {name for name, value in painter.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.removeprefix("unet.mid_block.resnets.0.").split(".")[0] for name in changed} == {
        "conv1", "conv2", "norm2", "time_emb_proj",
    }  # fmt: skip
    assert not dead.conv2.weight.any(), "as if it were not there, until it has learnt something"
