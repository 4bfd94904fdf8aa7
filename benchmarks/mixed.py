"""What eight people ask who agree on nothing."""

from __future__ import annotations

from engines.requests import Diffusion as Asked
from engines.requests import Img2Img, Inpaint, Txt2Img


def requests(steps: int) -> list[Asked]:
    """Eight people who agree on nothing: kind, sampler, steps, guidance, prompt, seed. `steps` is the middle."""
    few, many = steps - steps // 4, steps + steps // 4
    return [
        Txt2Img(prompt="a photo of a scratched metal nut", seed=1, steps=steps, sampler="DPM++ 2M Karras"),
        Txt2Img(prompt="a photo of a tile with a stain", seed=2, steps=many, sampler="Euler a", guidance=5.0),
        Img2Img(
            prompt="a photo of worn leather", image="photo", seed=3, steps=many, sampler="UniPC", strength=0.8
        ),
        Txt2Img(
            prompt="a photo of a pill with a crack", seed=4, steps=few, sampler="DDIM", negative="blurry"
        ),
        Txt2Img(prompt="a photo of wood with a hole", seed=5, steps=steps, sampler="Euler", guidance=1.0),
        Img2Img(prompt="a photo of a carpet", image="photo", seed=6, steps=steps, sampler="LMS Karras"),
        Txt2Img(
            prompt="a photo of a dented metal plate", seed=7, steps=few, sampler="DPM++ 2M SDE", guidance=9.0
        ),
        Txt2Img(prompt="금속 너트 사진", seed=8, steps=steps, sampler="PNDM"),
    ]


def inpainting(steps: int) -> list[Asked]:
    """Eight people who put defects into photos with the 9-channel model."""
    return [
        Inpaint(
            prompt=asked.prompt,
            negative=asked.negative,
            image="photo",
            mask="mask",
            seed=asked.seed,
            steps=asked.steps,
            sampler=asked.sampler,
            guidance=asked.guidance,
        )
        for asked in requests(steps)
    ]
