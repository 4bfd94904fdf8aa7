"""The model card's text around the measured figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.embedded.measure import Figure

_HEAD = """# Embedded models

<!-- written by `python -m engines.embedded.train measure`; do not edit -->

Small models in the libraries' own formats, so that the house draws real pictures without a model hub. They know the
procedural world of `engines/embedded/world.py` and nothing else: nine products (metal plate, wood, leather, tile,
carpet, wire grid, bottle, metal nut, pill) with a scratch, crack, dent, stain or hole, at 128×128.

| folder | loaded by | what |
|---|---|---|
| `weights/txt2img` | `StableDiffusionPipeline.from_pretrained` | 1,005-token byte-level CLIPTokenizer, 3-layer CLIPTextModel, factor-4 AutoencoderKL, 4-channel UNet of 10.9 M parameters, DDIM with v-prediction |
| `weights/inpaint` | `StableDiffusionInpaintPipeline.from_pretrained` | the same but for a 9-channel first convolution; all else are links into `txt2img` |
| `weights/clip` | `open_clip.create_model_and_transforms("local-dir:…")` | a 1.9 M-parameter CLIP, ResNet at 128×128 |
"""

_TAIL = """
## How they were trained

`python -m engines.embedded.train all` draws the pictures, trains, exports and measures; every stage resumes from its
checkpoint in `build/embedded`, on a CPU or a GPU, and `--from-shipped` goes on from these weights. All data is drawn
by the program from seeds; no photograph and no other model went in. The VAE, the CLIP and the oracle are trained by
Muon and AdamW, the denoiser by AdamW alone, in bfloat16 where the processor has it; what ships is the moving average.
The VAE minds edges and defect pixels (L1 + L2 + slopes, ×5 inside defects). One UNet body learns both kinds of task at
once. Its text encoder starts as the CLIP's text tower; half-size pictures come first (the words stage: a quarter of
the price a row), then full size. Hidden cells count as much as their mask is small; no cell counts more for what it
turns out to show.

This is the third generation. The first ran 1,100 steps without the words stage. The second trained the denoiser by
Muon too, whose moves are as long for noise as for signal: at batches of 8 to 16 its weights wandered, its loss stood
still for 1,500 further steps, and it saw no farther than three cells. The third began anew: 4,750 steps at rates of
5e-4 to 8e-4, in which cells of defects counted four times, then 2,100 without that, then 5,000 at 3e-4. The factor of
four had moved the best answer: masks were filled with cracks from edge to edge. And of eleven residual branches seven had
gone silent at the high rates (`--revive` finds such and begins them anew; taking them out had cost nothing).

## How they were measured

On seeds that training never draws, through the libraries' own loaders, from the shipped float16 files. The oracle is
one small network trained on unlimited fresh pictures of the same world; it is not shipped. Pictures are made in
{steps} DDIM steps at guidance {guidance}. An inpainted defect counts as found if the oracle marks at least {found}
of its 64×64 cells inside the mask with the asked type and with no other type more often. Intervals are 95 %
(Wilson for shares, normal for means).

## Going on

`python -m engines.embedded.train oracles`, then `… diffusion --from-shipped --steps 3000`, `… export --from-shipped`
and `… measure`. Keep the VAE as it is: the denoiser knows its latents.

## Limits

They draw their nine products and five defects, not the world: an unknown word is tokenised and ignored. What is wide
and hidden is filled with the right kind of defect, but what runs through it (brushed lines, joints, wires) is not
carried on, and a stain may have more than one colour: small masks look best. They are a
default, a demo and a bench for tests; for photographs of a real line use a Stable Diffusion model and fine-tune it.

Licence: Apache-2.0, like the program.
"""


def render(figures: list[Figure], weights: Path, steps: dict[str, int]) -> str:
    """The whole card as Markdown."""
    from engines.embedded.measure import FOUND, GUIDANCE, STEPS

    spent = ", ".join(f"{name} {count:,}" for name, count in steps.items())
    size = sum(p.stat().st_size for p in weights.rglob("*") if p.is_file() and not p.is_symlink()
               and not any(q.is_symlink() for q in p.parents))  # fmt: skip
    lines = [_HEAD, f"Together {size / 1e6:.1f} MB, float16 safetensors. Steps of training in the last run: {spent}.\n", "## Figures\n",
             "| figure | value | 95 % interval | pictures | target | met |", "|---|---|---|---|---|---|"]  # fmt: skip
    lines += [_row(figure) for figure in figures]
    short = [f.name for f in figures if f.target is not None and f.value < f.target]
    lines.append("")
    lines.append(f"Short of the target so far: {', '.join(short)}." if short else "Every target is met.")
    return "\n".join(lines) + "\n" + _TAIL.format(steps=STEPS, guidance=GUIDANCE, found=FOUND)


def _row(f: Figure) -> str:
    unit = f" {f.unit}"
    target = "" if f.target is None else f"≥ {f.target:g}{unit}"
    met = "" if f.target is None else ("yes" if f.value >= f.target else "no")
    return f"| {f.name} | {f.value:.1f}{unit} | {f.low:.1f}–{f.high:.1f} | {f.pictures} | {target} | {met} |"


def steps_of(work: Path) -> dict[str, int]:
    """Steps each model was trained for, from the logs in the work folder."""
    found = {}
    for name in ("vae", "clip", "words", "diffusion"):
        log = work / f"{name}.log.jsonl"
        if log.exists():
            found[name] = max(json.loads(line)["step"] for line in log.read_text().splitlines())
    return found
