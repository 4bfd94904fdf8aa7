"""The finer settings of a training, with diffusers' names and defaults; the defect mode's are DefectFill's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engines.forms import Kind, param
from engines.training.given import Given
from engines.words import Words

SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")
PRECISIONS = ("auto", "no", "fp16", "bf16")


def _finer(kind: Kind, help: Words, label: Words, default: Any, **more: Any) -> Any:
    return param(kind, help, label, default, advanced=True, **more)


@dataclass(frozen=True, kw_only=True)
class Finer(Given):
    """What most people leave as it is."""

    accumulation: int = _finer(
        "int",
        Words("Batches whose gradients make one step", "한 스텝에 모을 배치 수"),
        Words("accumulation", "누적"),
        1,
        low=1,
        high=64,
        aliases=("gradient_accumulation_steps", "gradient_accumulation"),
    )
    schedule: str = _finer(
        "choice",
        Words("How the learning rate changes over time", "학습률이 변하는 방식"),
        Words("schedule", "스케줄"),
        "constant",
        choices=SCHEDULES,
        aliases=("lr_scheduler",),
    )
    warmup: int = _finer(
        "int",
        Words("Steps until the learning rate is full; not with constant", "학습률이 다 오를 때까지의 스텝"),
        Words("warm-up", "워밍업"),
        0,
        low=0,
        high=10000,
        aliases=("lr_warmup_steps", "warm_up"),
    )
    precision: str = _finer(
        "choice",
        Words("auto: bf16 where the device has it, else no", "auto: 장치가 지원하면 bf16, 아니면 no"),
        Words("precision", "정밀도"),
        "auto",
        choices=PRECISIONS,
        aliases=("mixed_precision",),
    )
    gradient_checkpointing: bool = _finer(
        "flag",
        Words("Less memory, about a third slower", "메모리를 덜 쓰지만 약 1/3 느려집니다"),
        Words("gradient checkpointing", "그래디언트체크포인트"),
        False,
    )
    adam8bit: bool = _finer(
        "flag",
        Words(
            "Adam in 8 bits: less memory (NVIDIA GPU, bitsandbytes)",
            "8비트 Adam: 메모리 절약 (NVIDIA GPU 필요)",
        ),
        Words("8-bit Adam", "8비트아담"),
        False,
        aliases=("use_8bit_adam", "adam_8bit"),
    )
    prior_weight: float = _finer(
        "float",
        Words("How much the normal pictures count", "정상 사진이 차지하는 비중"),
        Words("prior weight", "사전보존비중"),
        1.0,
        low=0.0,
        high=10.0,
        aliases=("prior_loss_weight",),
    )
    normals: float = _finer(
        "float",
        Words("Normal pictures beside each photo of a batch", "배치의 사진 한 장당 정상 사진 수"),
        Words("normals", "정상비율"),
        1.0,
        low=0.0,
        high=4.0,
    )
    class_images: int = _finer(
        "int",
        Words(
            "Pictures of the class made first where none are given", "정상 사진이 없을 때 먼저 만들 그림 수"
        ),
        Words("class images", "클래스이미지"),
        100,
        low=0,
        high=1000,
        aliases=("num_class_images",),
    )
    defect_weight: float = _finer(
        "float",
        Words("Weight of the loss inside the mask (defect)", "마스크 안 손실의 비중 (defect)"),
        Words("defect weight", "결함비중"),
        0.5,
        low=0.0,
        high=10.0,
    )
    object_weight: float = _finer(
        "float",
        Words("Weight of the loss on the whole object (defect)", "물체 전체 손실의 비중 (defect)"),
        Words("object weight", "물체비중"),
        0.2,
        low=0.0,
        high=10.0,
    )
    attention_weight: float = _finer(
        "float",
        Words(
            "Weight of the defect's words looking at the mask; try 0.05 (defect)",
            "결함 단어가 마스크를 보게 하는 비중. 예: 0.05 (defect)",
        ),
        Words("attention weight", "주의집중비중"),
        0.0,
        low=0.0,
        high=10.0,
    )
    full_masks: float = _finer(
        "float",
        Words("Share of samples whose mask is the whole picture", "마스크가 그림 전체인 샘플의 비율"),
        Words("full masks", "전체마스크"),
        0.25,
        low=0.0,
        high=1.0,
    )
    empty_prompts: float = _finer(
        "float",
        Words("Share of samples without a prompt (defect)", "프롬프트 없이 학습할 샘플의 비율 (defect)"),
        Words("empty prompts", "빈프롬프트"),
        0.1,
        low=0.0,
        high=1.0,
    )
    prompt_noise: float = _finer(
        "float",
        Words("Noise on the prompt's embedding (defect)", "프롬프트 임베딩에 더할 노이즈 (defect)"),
        Words("prompt noise", "프롬프트노이즈"),
        0.1,
        low=0.0,
        high=1.0,
    )
    crop: float = _finer(
        "float",
        Words(
            "Side of the crop in sides of the defect (defect)", "결함 크기 대비 자를 영역의 한 변 (defect)"
        ),
        Words("crop", "자르기"),
        2.5,
        low=1.0,
        high=20.0,
    )
    validate_every: int = _finer(
        "int",
        Words(
            "Steps between two rows of samples; 0 = at the end only", "샘플을 만들 간격(스텝). 0은 마지막에만"
        ),
        Words("validate every", "검증간격"),
        200,
        low=0,
        high=50000,
        aliases=("validation_steps",),
    )
    save_every: int = _finer(
        "int",
        Words("Steps between two checkpoints", "체크포인트 간격(스텝)"),
        Words("save every", "저장간격"),
        100,
        low=1,
        high=50000,
        aliases=("checkpointing_steps", "checkpoint_every"),
    )
    keep: int = _finer(
        "int",
        Words("Checkpoints kept", "남겨 둘 체크포인트 수"),
        Words("keep", "보관"),
        2,
        low=1,
        high=10,
        aliases=("checkpoints_total_limit",),
    )
    beta1: float = _finer(
        "float",
        Words("Adam's first beta", "Adam의 첫째 베타"),
        Words("beta 1", "베타1"),
        0.9,
        low=0.0,
        high=0.999,
        aliases=("adam_beta1",),
    )
    beta2: float = _finer(
        "float",
        Words("Adam's second beta", "Adam의 둘째 베타"),
        Words("beta 2", "베타2"),
        0.999,
        low=0.0,
        high=0.99999,
        aliases=("adam_beta2",),
    )
    weight_decay: float = _finer(
        "float",
        Words("Adam's weight decay", "Adam의 가중치 감쇠"),
        Words("weight decay", "가중치감쇠"),
        1e-2,
        low=0.0,
        high=1.0,
        aliases=("adam_weight_decay",),
    )
    epsilon: float = _finer(
        "float",
        Words("Adam's epsilon", "Adam의 엡실론"),
        Words("epsilon", "엡실론"),
        1e-8,
        low=1e-9,
        high=0.01,
        aliases=("adam_epsilon",),
    )
    max_grad_norm: float = _finer(
        "float",
        Words("Longer gradients are cut to this length", "그래디언트의 최대 크기"),
        Words("max grad norm", "그래디언트상한"),
        1.0,
        low=0.01,
        high=100.0,
    )
