"""Which base a training can start from. Importing this loads no torch."""

from __future__ import annotations

from engines.training.request import NORMAL
from engines.words import Words

PICTURES, HOLES = 4, 9  # channels that the UNet of a model takes: of whole pictures, and for inpainting


def misfit(mode: str, name: str, channels: int, *, lora: bool) -> Words | None:
    """Why the model called `name` cannot be the base of a training in `mode`; None where it can."""
    if lora:
        return _IS_LORA(name=name)
    if channels == (PICTURES if mode == NORMAL else HOLES):
        return None
    return (_NOT_PICTURES if mode == NORMAL else _NOT_INPAINT)(name=name, mode=mode)


_IS_LORA = Words(
    "`{name}` is a LoRA. A training starts from a whole model: choose the base it was made for.",
    "`{name}`은(는) LoRA입니다. 학습은 온전한 모델에서 시작해야 하므로 그 원본 모델을 골라 주십시오.",
)
_NOT_INPAINT = Words(
    "mode:{mode} teaches an inpainting model, and `{name}` is made for whole pictures. Choose an inpainting base such as "
    "`defect-studio/mini-inpaint` or `stable-diffusion-2-inpainting`, or mode:normal.",
    "mode:{mode}는 인페인팅 모델을 학습하는 방식인데 `{name}`은(는) 그림 전체를 만드는 모델입니다. "
    "`defect-studio/mini-inpaint`나 `stable-diffusion-2-inpainting` 같은 인페인팅 모델을 고르거나 mode:normal을 쓰십시오.",
)
_NOT_PICTURES = Words(
    "mode:normal teaches a model of whole pictures, and `{name}` is made for inpainting. Choose a base such as "
    "`defect-studio/mini` or `stable-diffusion-v1-5`, or mode:defect.",
    "mode:normal은 그림 전체를 만드는 모델을 학습하는 방식인데 `{name}`은(는) 인페인팅 모델입니다. "
    "`defect-studio/mini`나 `stable-diffusion-v1-5` 같은 모델을 고르거나 mode:defect를 쓰십시오.",
)
