"""Diffusion by steps: strangers' pictures through one UNet call a tick.

Built from diffusers' public parts, and equal to its pipelines to rounding (tests/test_diffusion_equal.py). A tick is
one UNet call; samplers that evaluate the model twice a step take two ticks for it. Runs of different step counts,
samplers, guidance, prompts and kinds go together as long as their latents have one shape (`Run.key`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from engines import devices
from engines.diffusion import adapters, begins, pictures, portions, samplers
from engines.diffusion.compiled import Inputs, Unets
from engines.diffusion.latents import Keep
from engines.diffusion.previews import Glimpse, Previews
from engines.diffusion.prompts import Prompts
from engines.engine import Ending, Made, Run, Work
from engines.models.memory import Lease, Models, Parts
from engines.models.near import Near
from engines.picking import Bytes
from engines.prepared import Prepared
from engines.requests import Diffusion as Asked
from engines.words import Refusal, Words

KEPT = 16  # photos read and cut that wait to begin


@dataclass(frozen=True, slots=True)
class State:
    """All that a step changes or needs. Frozen: a step makes a new one, so a failed step leaves no trace."""

    scheduler: Any  # never stepped itself: a step forks it
    latents: torch.Tensor  # (n, 4, h, w)
    timesteps: torch.Tensor  # (ticks,)
    generators: tuple[torch.Generator, ...]  # one a picture; the only mutable thing, put back on failure
    text: (
        torch.Tensor
    )  # (rows, tokens, width): without guidance n rows, else n of the negative and n of the prompt
    guidance: float
    extra: torch.Tensor | None = None  # (n, 5, h, w)
    keep: Keep | None = None
    glimpse: Glimpse | None = None

    @property
    def guided(self) -> bool:
        return len(self.text) > len(self.latents)


@dataclass(slots=True, kw_only=True)
class Pictures(Run):
    """One request's pictures in flight."""

    lease: Lease
    request: Asked
    state: State | None
    frame: begins.Frame  # where the pictures go when they are done
    most: int  # rows of one call at most, for memory


class Diffusion(Near):
    """The engine of txt2img, img2img and inpaint on one device.

    Args:
        models: the device's models.
        most_rows: rows of one UNet call at most, for memory; more rows go in several calls.
        unets: what calls the UNets; the plain way where none is given.
        previews: what draws them; without a tiny decoder where none is given.
    """

    def __init__(
        self,
        models: Models,
        *,
        most_rows: int = 64,
        unets: Unets | None = None,
        previews: Previews | None = None,
    ) -> None:
        super().__init__(models)
        self._most_rows = most_rows
        self._unets = unets or Unets()
        self._prompts = Prompts()
        self._previews = previews or Previews()
        self._frames = Prepared[tuple[begins.Frame, list[Words]]](KEPT)

    def prepare(self, work: Work) -> None:
        """Fetch and hash the model, read photo and mask, off the device's thread."""
        request = _asked(work)
        plan = self._models.prepare(request.model, request.name)
        self._previews.prepare()
        self._frames.put(work, begins.framed(plan, work))

    def lease(self, model: str, kind: str) -> Lease:
        """The parts that a request of this kind would run on."""
        return self._models.lease(model, kind)

    @torch.inference_mode()
    def begin(self, work: Work) -> Pictures:
        """Text encoded, photo encoded, noise drawn. Raises `Refusal` for a photo or mask that will not do."""
        return self._models.roomily(lambda: self._leased(work))

    def _leased(self, work: Work) -> Pictures:
        request = _asked(work)
        lease = self.lease(request.model, request.name)
        try:
            return self._begun(work, request, lease)
        except BaseException:
            lease.close()
            raise

    def _begun(self, work: Work, request: Asked, lease: Lease) -> Pictures:
        parts = lease.parts
        guidance = parts.guidance if request.guidance is None else request.guidance
        request = replace(request, guidance=guidance)  # so that the recipe tells it
        scheduler = samplers.build(request.sampler, parts.scheduler_config, request.steps)
        frame, notes = self._frames.take(work) or begins.framed(parts, work)
        timesteps = samplers.enter(scheduler, request.steps, getattr(request, "strength", 1.0))
        generators, start = begins.started(parts, request, scheduler, frame, timesteps[:1])
        text, cut = begins.told(parts, self._prompts, request, guidance)
        state = State(
            scheduler=scheduler,
            latents=start.latents,
            timesteps=timesteps,
            generators=generators,
            text=text,
            guidance=guidance,
            extra=start.extra,
            keep=start.keep,
        )
        return Pictures(
            work=work,
            total=len(timesteps),
            key=(id(parts.unet), tuple(start.latents.shape[1:])),
            rows=len(text),
            row_bytes=portions.row_bytes(parts.unet, start.latents.shape[-2] * start.latents.shape[-1]),
            notes=[*notes, *cut],
            lease=lease,
            request=request,
            state=state,
            frame=frame,
            most=self._most_rows,
        )

    @torch.inference_mode()
    def advance(self, runs: Sequence[Pictures]) -> None:
        """One UNet call for all rows of all runs, then each run's own sampler. All or none."""
        states = [_running(run) for run in runs]
        forks = [samplers.fork(state.scheduler) for state in states]
        times = [state.timesteps[run.done] for run, state in zip(runs, states, strict=True)]
        seen = [
            fork.scale_model_input(state.latents, time)
            for fork, state, time in zip(forks, states, times, strict=True)
        ]
        said = self._predict(runs, states, seen, times)
        drawn = [(own, own.get_state()) for state in states for own in state.generators]
        try:
            moved = [
                _stepped(run.done, *each)
                for run, each in zip(runs, zip(states, forks, seen, said, strict=True), strict=True)
            ]
            devices.waited_for(self._models.device)  # what goes wrong there is told late
        except BaseException:
            for own, before in drawn:
                own.set_state(before)
            raise
        for run, state in zip(runs, moved, strict=True):
            run.state = state
            run.done += 1

    def _predict(
        self,
        runs: Sequence[Pictures],
        states: list[State],
        seen: list[torch.Tensor],
        times: list[torch.Tensor],
    ) -> list[torch.Tensor]:
        """The model's answer for each run, guidance applied: (n, 4, h, w) each."""
        parts = runs[0].lease.parts
        inputs, clocks = [], []
        for state, one, time in zip(states, seen, times, strict=True):
            full = one if state.extra is None else torch.cat([one, state.extra], dim=1)
            inputs.append(torch.cat([full, full]) if state.guided else full)
            clocks += [float(time)] * len(state.text)
        rows = torch.cat(inputs)
        clock = torch.tensor(clocks, dtype=torch.float32, device=rows.device)
        text = torch.cat([state.text for state in states])
        embedded = _guidance_rows(parts, states)
        each = [run.lease.parts.adapter for run, state in zip(runs, states, strict=True) for _ in state.text]

        def call(part: slice) -> torch.Tensor:
            given = Inputs(rows[part], clock[part], text[part], None if embedded is None else embedded[part])
            with adapters.rows(parts.unet, each[part]):
                return self._unets.call(parts.unet, given, adapted=any(each[part]))

        most, alone = min(run.most for run in runs), len(runs) == 1
        said, at_once = portions.by_rows(self._models, call, len(rows), most, alone=alone)
        if alone:
            runs[0].most = at_once
        shares = torch.split(said, [len(state.text) for state in states])
        return [_guided(state, share) for state, share in zip(states, shares, strict=True)]

    def preview(self, run: Pictures) -> bytes | None:
        """What the pictures are becoming, as a small JPEG; None before the first step."""
        if run.state is None or run.state.glimpse is None:
            return None
        return self._previews.draw(run.lease.parts, run.state.glimpse)

    def finish(self, run: Pictures) -> Made:
        """`ending` in one go."""
        ending = self.ending(run)
        while True:
            try:
                next(ending)
            except StopIteration as end:
                made: Made = end.value
                return made

    def ending(self, run: Pictures) -> Ending:
        """Decode here, one picture a piece; compose, encode and write elsewhere.

        Raises `Refusal` where a picture came out as no numbers, which would be black.
        """
        made: list[Bytes] = []
        parts = run.lease.parts
        for one in _running(run).latents:
            if made:
                yield
            picture = pictures.decoded(parts, one[None], self._models)
            if picture is None:
                raise Refusal(_BROKEN(model=parts.name, guidance=run.request.guidance))
            made.append(picture)
        return pictures.packing(run.work, run.request, parts, run.frame, made, run.notes)

    def suspend(self, run: Pictures) -> None:
        run.state = None
        run.lease.close()


def _asked(work: Work) -> Asked:
    assert isinstance(work.request, Asked), work.request
    return work.request


def _running(run: Pictures) -> State:
    assert run.state is not None, "a suspended run cannot go on"
    return run.state


def _guided(state: State, share: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance (arXiv 2207.12598)."""
    if not state.guided:
        return share
    without, with_prompt = share.chunk(2)
    return without + state.guidance * (with_prompt - without)


def _guidance_rows(parts: Parts, states: list[State]) -> torch.Tensor | None:
    """The guidance scale as the embedding that distilled (LCM) UNets take; None for all others."""
    width = parts.unet.config.time_cond_proj_dim
    if width is None:
        return None
    scales = [state.guidance - 1 for state in states for _ in state.text]
    return begins.guidance_embedding(torch.tensor(scales), width).to(parts.device, parts.unet.dtype)


def _stepped(done: int, state: State, fork: Any, seen: torch.Tensor, said: torch.Tensor) -> State:
    """The state after one step of the run's own sampler."""
    time = state.timesteps[done]
    own = {"generator": list(state.generators)} if samplers.draws(fork.__class__) else {}
    latents = fork.step(said, time, state.latents, return_dict=False, **own)[0]
    if state.keep is not None:
        photo = state.keep.photo
        if done + 1 < len(state.timesteps):
            photo = fork.add_noise(photo, state.keep.noise, state.timesteps[done + 1][None])
        latents = (1 - state.keep.mask) * photo + state.keep.mask * latents
    return replace(state, scheduler=fork, latents=latents, glimpse=Glimpse(seen, said, float(time)))


_BROKEN = Words(
    "The model `{model}` gave no usable numbers (guidance {guidance}). Try a lower guidance or another sampler.",
    "`{model}` 모델이 쓸 수 없는 값을 냈습니다 (가이던스 {guidance}). 가이던스를 낮추거나 다른 샘플러를 써 보십시오.",
)
