"""python -m engines.embedded.train STAGE: draws the world, trains the small models, measures, exports.

Stages in their order: pool, vae, freeze (standardise the VAE for diffusion), clip, oracles, words, diffusion, export,
measure. Each resumes where it was stopped; `all` runs them one after another.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from engines.embedded import MODEL_CARD, WEIGHTS, clip, diffusion, export, loop, oracles, pool, text, vae


def average_of(path: Path) -> dict[str, torch.Tensor]:
    """The averaged weights in a checkpoint of `loop.train`."""
    return dict(torch.load(path, weights_only=True, map_location="cpu")["average"])


def frozen_vae(args: argparse.Namespace) -> AutoencoderKL:
    """The VAE that diffusion was or will be trained on; with --from-shipped the one in the repository."""
    path = args.work / "vae-frozen.pt"
    if not path.exists() and args.from_shipped:
        return AutoencoderKL.from_pretrained(args.weights / "txt2img" / "vae").eval()
    module = vae.build()
    module.load_state_dict(torch.load(path, weights_only=True))
    return module.eval()


def vae_stage(args: argparse.Namespace) -> None:
    data = pool.open_pool(args.work, args.pool)
    module = vae.build().to(args.device).to(memory_format=torch.channels_last)
    if args.from_shipped:
        module.load_state_dict(AutoencoderKL.from_pretrained(args.weights / "txt2img" / "vae").state_dict())
    plan = loop.Plan(args.steps or 2000, args.rate or 1e-3, seed=args.seed, muon_rate=args.muon or 0.02)
    loop.train("vae", module, plan, args.work, vae.loss_on(data, args.batch or 12, args.device))


def freeze_stage(args: argparse.Namespace) -> None:
    """Standardises the averaged VAE's latents; diffusion learns in that space from then on."""
    module = vae.build()
    module.load_state_dict(average_of(args.work / "vae.pt"))
    vae.standardise(module.eval(), pool.open_pool(args.work, args.pool).image[:500])
    loop.write_atomically(args.work / "vae-frozen.pt", lambda part: torch.save(module.state_dict(), part))


def clip_stage(args: argparse.Namespace) -> None:
    data, tokenizer = pool.open_pool(args.work, args.pool), text.open_tokenizer()
    plan = loop.Plan(args.steps or 1500, args.rate or 1e-3, seed=args.seed, muon_rate=args.muon or 0.01)
    loss = clip.loss_on(data, tokenizer, args.batch or 48, args.device)
    loop.train("clip", clip.build(tokenizer).to(args.device), plan, args.work, loss)


def oracles_stage(args: argparse.Namespace) -> None:
    plan = loop.Plan(args.steps or 1500, args.rate or 1e-3, seed=args.seed, muon_rate=args.muon or 0.01)
    module = oracles.Oracle().to(args.device).to(memory_format=torch.channels_last)
    loop.train("oracle", module, plan, args.work, oracles.loss_on(args.batch or 16, args.device))


def clip_state(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """CLIP's averaged weights from the work folder, else the shipped ones."""
    path = args.work / "clip.pt"
    return (
        average_of(path)
        if path.exists()
        else load_file(args.weights / "clip" / "open_clip_model.safetensors")
    )


def words_stage(args: argparse.Namespace) -> None:
    """Half-size pictures first: what the words mean, and where things lie, at a quarter of the price.

    Needs a frozen VAE and a CLIP: the text encoder starts as CLIP's text tower.
    """
    module = diffusion.Painter(text.open_tokenizer())
    if args.from_shipped:
        export.load_shipped(module, args.weights)
    text.learn_from_clip(module.text, clip_state(args))
    batch = args.batch or 24
    teacher = _teacher(args, batch, args.plain or batch * 2 // 3, shrink=2)
    _paint("words", module, teacher, args, loop.Plan(args.steps or 1500, args.rate or 1e-3))


def diffusion_stage(args: argparse.Namespace) -> None:
    """Full size, from where the words stage ended; with --from-shipped from the weights in the repository."""
    module = diffusion.Painter(text.open_tokenizer())
    if args.from_shipped:
        export.load_shipped(module, args.weights)
    else:
        module.load_state_dict(average_of(args.work / "words.pt"))
    batch = args.batch or 16
    teacher = _teacher(args, batch, args.plain or batch // 2, shrink=1)
    if args.revive:
        print("begun anew:", ", ".join(diffusion.revive(module, teacher)) or "nothing", flush=True)
    _paint("diffusion", module, teacher, args, loop.Plan(args.steps or 9000, args.rate or 3e-4))


def _teacher(args: argparse.Namespace, batch: int, plain: int, shrink: int) -> diffusion.Teacher:
    codec, data = frozen_vae(args).to(args.device), pool.open_pool(args.work, args.pool)
    latents = diffusion.Latents(codec, data, args.device, shrink)
    return diffusion.Teacher(codec, text.open_tokenizer(), data, latents, plain, batch - plain, args.device)


def _paint(
    name: str,
    module: diffusion.Painter,
    teacher: diffusion.Teacher,
    args: argparse.Namespace,
    plan: loop.Plan,
) -> None:
    module = module.to(args.device).to(memory_format=torch.channels_last)
    plan = dataclasses.replace(plan, seed=args.seed, save_every=100, muon_rate=args.muon)
    loop.train(name, module, plan, args.work, diffusion.loss_on(teacher))


def export_stage(args: argparse.Namespace) -> None:
    """Whatever is trained so far goes to the weights folder; what is not yet is taken from the start."""
    args.weights.parent.mkdir(parents=True, exist_ok=True)
    painter, tokenizer = diffusion.Painter(text.open_tokenizer()), text.open_tokenizer()
    if (args.work / "diffusion.pt").exists():
        painter.load_state_dict(average_of(args.work / "diffusion.pt"))
    elif args.from_shipped:
        export.load_shipped(painter, args.weights)
    with tempfile.TemporaryDirectory(dir=args.weights.parent, prefix=".weights-") as new:
        place = Path(new) / "weights"
        export.save_pipelines(painter, frozen_vae(args), place)
        if (args.work / "clip.pt").exists():
            clip.save(average_of(args.work / "clip.pt"), tokenizer, place / "clip")
        elif (args.weights / "clip").exists():
            export.copy_folder(args.weights / "clip", place / "clip")
        else:
            clip.save(clip.build(tokenizer).state_dict(), tokenizer, place / "clip")
        export.replace_folder(place, args.weights)


def measure_stage(args: argparse.Namespace) -> None:
    from engines.embedded import measure

    judge = oracles.Oracle()
    judge.load_state_dict(average_of(args.work / "oracle.pt"))
    measure.write_card(args.weights, judge.eval(), args.card, args.count, args.work, tuple(args.parts))


STAGES = {
    "pool": lambda args: pool.open_pool(args.work, args.pool), "vae": vae_stage, "freeze": freeze_stage,
    "clip": clip_stage, "oracles": oracles_stage, "words": words_stage, "diffusion": diffusion_stage,
    "export": export_stage, "measure": measure_stage,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m engines.embedded.train", description=__doc__)
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument(
        "--work", type=Path, default=Path("build/embedded"), help="checkpoints, pools and logs"
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the shipped folders go")
    parser.add_argument("--card", type=Path, default=MODEL_CARD, help="the model card that `measure` writes")
    parser.add_argument(
        "--from-shipped", action="store_true", help="start from the weights in the repository"
    )
    parser.add_argument("--count", type=int, default=200, help="held-out pictures a measurement")
    parser.add_argument(
        "--parts", nargs="+", default=["vae", "txt2img", "inpaint", "clip"], help="what to measure"
    )
    parser.add_argument("--pool", type=int, default=6000, help="scenes in the training pool")
    parser.add_argument("--steps", type=int, default=0, help="steps in all (0: the stage's own)")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--plain", type=int, default=0, help="rows of a batch that are txt2img (0: half)")
    parser.add_argument("--rate", type=float, default=0.0, help="AdamW's peak rate")
    parser.add_argument("--muon", type=float, default=0.0, help="Muon's peak rate")
    parser.add_argument("--revive", action="store_true", help="diffusion: begin dead residual branches anew")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    for stage in STAGES if args.stage == "all" else (args.stage,):
        STAGES[stage](args)


if __name__ == "__main__":
    main()
