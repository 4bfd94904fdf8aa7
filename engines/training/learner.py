"""The training itself: rows in, gradients, one optimizer step. A loop to read aloud is in `engine.py`.

DreamBooth (arXiv 2208.12242) as diffusers' script does it; the defect mode's two passes are DefectFill's (2503.13985),
the good photos as the prior class SeaS', the noise on the prompt's embedding MAGIC's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from engines.models.memory import Parts
from engines.training import attention, chance, copies, losses, offload, rows
from engines.training.accelerated import Accelerated
from engines.training.copies import Rates
from engines.training.request import Train
from engines.training.rows import Row
from engines.training.sights import Sights
from engines.words import Refusal, Words

_T = TypeVar("_T")


@dataclass(slots=True)
class Step:
    """The losses of one step: what was made small, and each concept's own mean."""

    loss: float = 0.0
    rate: float = 0.0
    concepts: dict[int, float] | None = None
    left_out: bool = False  # half precision overflowed: the weights did not move


class Broken(Refusal):
    """The numbers are none any more; a lower learning rate may help."""

    code = "numbers"


class Learner:
    """What a training changes and how. Mutable; touched by the device's thread only.

    Args:
        parts: the base, shared and never changed.
        unet, text_encoder: private; the parameters that want gradients are trained. `text_encoder` None: the base's,
            frozen, whose answers are kept.
    """

    def __init__(
        self,
        request: Train,
        parts: Parts,
        unet: nn.Module,
        text_encoder: nn.Module | None,
        accelerated: Accelerated,
        rates: Rates,
    ) -> None:
        from diffusers import DDPMScheduler
        from diffusers.optimization import get_scheduler

        self.request = request
        self.parts = parts
        self.unet = unet
        self.text_encoder = text_encoder
        self.accelerated = accelerated
        self.rates = rates
        self.noising = DDPMScheduler.from_config(dict(parts.scheduler_config))
        self.trained = {f"unet.{name}": p for name, p in copies.trainable(unet).items()}
        groups = [{"params": list(self.trained.values()), "lr": rates.unet}]
        if text_encoder is not None:
            words = {f"text_encoder.{name}": p for name, p in copies.trainable(text_encoder).items()}
            groups.append({"params": list(words.values()), "lr": rates.text})
            self.trained |= words
        self.optimizer = _optimizer(request, groups)
        self.schedule = get_scheduler(
            request.schedule,
            optimizer=self.optimizer,
            num_warmup_steps=request.warmup,
            num_training_steps=request.total_steps,
        )
        self.away: offload.Away | None = None  # the optimizer's state, while others need its memory
        self._texts: dict[str, torch.Tensor] = {}
        self.learning()

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        now: float = self.optimizer.param_groups[0]["lr"]
        return now

    @property
    def sound(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(p.isfinite().all()) for p in self.trained.values())

    def learning(self) -> None:
        """Ready for gradients (after samples were drawn)."""
        for module in self._modules():
            module.train()

    def looking(self) -> None:
        """Ready for samples."""
        for module in self._modules():
            module.eval()

    def _modules(self) -> list[nn.Module]:
        return [self.unet] if self.text_encoder is None else [self.unet, self.text_encoder]

    # ------------------------------------------------------------------ one step

    def gradients(self, batches: Sequence[Sequence[Row]], sights: Sights) -> Step:
        """Add up the gradients of one step, a batch at a time.

        Every part's loss is the mean over the step's rows of that part, so that it does not matter how the rows
        are cut into batches.

        Raises:
            Refusal: the loss or the gradients are no numbers any more; the weights are as before.
        """
        shares = rows.shares(self.request, [row for batch in batches for row in batch])
        told: list[tuple[Row, float]] = []
        step = Step(rate=self.rate)
        try:
            for batch in batches:
                told += self._batch(batch, sights, shares, step)
            self._check(step)
        except BaseException:
            self.forget()
            raise
        step.concepts = rows.by_concept(told)
        return step

    def _batch(
        self, batch: Sequence[Row], sights: Sights, shares: Mapping[str, float], step: Step
    ) -> list[tuple[Row, float]]:
        with attention.watched(self.unet, any(row.defect for row in batch)) as maps:
            own = self.row_losses(batch, sights)
            scale = torch.tensor([shares[row.part] for row in batch], device=own.device)
            loss = (own * scale).sum()
            if maps:
                loss = loss + shares[rows.LOOKS] * self._looks(maps, batch, sights)
            self.accelerated.backward(loss)
        step.loss += float(loss.detach())
        return list(zip(batch, own.detach().tolist(), strict=True))

    def _looks(self, maps: attention.Maps, batch: Sequence[Row], sights: Sights) -> torch.Tensor:
        """The cross-attention term of a batch."""
        masks = self._on([sights.see(row.ask).defect for row in batch])
        return attention.losses(maps, batch, masks, self.parts.tokenizer).sum()

    def _check(self, step: Step) -> None:
        length = self.accelerated.clip(
            self.optimizer, list(self.trained.values()), self.request.max_grad_norm
        )
        overflow = self.accelerated.scaler is not None and not torch.isfinite(length)
        if not (torch.isfinite(torch.tensor(step.loss)) and (overflow or torch.isfinite(length))):
            raise Broken(BROKEN)

    def move(self, step: Step) -> None:
        """Take the step whose gradients were added up."""
        if offload.moved(self.away, self.accelerated, self.optimizer):
            self.schedule.step()
        else:
            step.left_out = True
        self.forget()

    def forget(self) -> None:
        """Drop gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    # ------------------------------------------------------------------ rows

    def row_losses(self, batch: Sequence[Row], sights: Sights) -> torch.Tensor:
        """Each row's own loss, (n,)."""
        seen = [sights.see(row.ask) for row in batch]
        clean = self._scaled(
            [s.picture.draw(self.request.seed, *r.name, "vae") for s, r in zip(seen, batch, strict=True)]
        )
        noise = self._on(
            [chance.noise(tuple(clean.shape[1:]), self.request.seed, *r.name, "noise") for r in batch]
        )
        times = torch.tensor([self._time(row) for row in batch], device=clean.device)
        given = self.noising.add_noise(clean, noise, times)
        if self.parts.in_channels == 9:
            holes = self._on([_there(s.hole) for s in seen])
            holed = self._scaled(
                [
                    _there(s.holed).draw(self.request.seed, *r.name, "holed")
                    for s, r in zip(seen, batch, strict=True)
                ]
            )
            given = torch.cat([given, holes, holed], dim=1)
        with self.accelerated.autocast():
            said = self.unet(
                given.to(self.dtype), times, encoder_hidden_states=self._words(batch), return_dict=False
            )[0]
        error = losses.squared(said, losses.target(self.noising, clean, noise, times))
        defects = self._on([_weights(r, s.defect, s.hole) for r, s in zip(batch, seen, strict=True)])
        own: torch.Tensor = losses.weighted(error, defects)
        return own

    def _time(self, row: Row) -> int:
        return chance.below(self.noising.config.num_train_timesteps, self.request.seed, *row.name, "time")

    def _on(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(tensors).to(self.parts.device)

    def _scaled(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        factor: float = self.parts.vae.config.scaling_factor
        return self._on(tensors) * factor

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    def _words(self, batch: Sequence[Row]) -> torch.Tensor:
        """The prompts' embeddings, (n, tokens, width), with noise where the row wants it."""
        known = self.encoded({row.prompt for row in batch})
        return torch.stack([self._shaken(row, known[row.prompt]) for row in batch]).to(self.dtype)

    def _shaken(self, row: Row, text: torch.Tensor) -> torch.Tensor:
        if not row.shaken:
            return text
        noise = chance.noise(tuple(text.shape), self.request.seed, *row.name, "words").to(text.device)
        return text + self.request.prompt_noise * text.detach().std() * noise

    def encoded(self, prompts: set[str]) -> dict[str, torch.Tensor]:
        """Prompt → (tokens, width). Kept, unless the text encoder is trained."""
        if self.text_encoder is not None:
            with self.accelerated.autocast():
                return {prompt: encode(self.parts, self.text_encoder, prompt) for prompt in sorted(prompts)}
        for prompt in prompts - self._texts.keys():
            with torch.no_grad():
                self._texts[prompt] = encode(self.parts, self.parts.text_encoder, prompt)
        return self._texts


def encode(parts: Parts, encoder: Any, prompt: str) -> torch.Tensor:
    """A prompt as diffusers' pipelines encode it, (tokens, width)."""
    tokenizer = parts.tokenizer
    tokens = tokenizer(
        prompt,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    asked = getattr(encoder.config, "use_attention_mask", None)
    mask = tokens.attention_mask.to(parts.device) if asked else None
    states: torch.Tensor = encoder(tokens.input_ids.to(parts.device), attention_mask=mask)[0]
    return states[0]


def _weights(row: Row, defect: torch.Tensor, hole: torch.Tensor | None) -> torch.Tensor:
    """How much each cell counts, (1, h, w)."""
    if row.part == "object" or (row.part == "defect" and row.ask.hole == "full"):
        return losses.around(defect)
    return defect if row.part == "defect" else torch.ones_like(defect)


def _there(value: _T | None) -> _T:
    assert value is not None, "an inpainting row without a hole"
    return value


def _optimizer(request: Train, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    cls: Any = torch.optim.AdamW
    if request.adam8bit:
        from bitsandbytes.optim import AdamW8bit as cls  # type: ignore[import-not-found, no-redef]
    made: torch.optim.Optimizer = cls(
        groups,
        betas=(request.beta1, request.beta2),
        weight_decay=request.weight_decay,
        eps=request.epsilon,
    )
    return made


BROKEN = Words(
    "The training broke down: the loss is not a number any more.",
    "손실 값이 숫자가 아니게 되어 학습을 멈추었습니다.",
)
