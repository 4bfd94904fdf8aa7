"""/gpu: the devices, what is in their memory, and who has what running on them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bot.commands.command import Command, Tools, listed, say
from bot.locale.markup import code, cut, harmless
from bot.locale.numbers import bar, size
from bot.talk import Invocation, Message
from engines.words import Words, alike, joined

if TYPE_CHECKING:
    from engines.serving.pool import DeviceStatus, Held

SHOWN = 10  # works a device


@dataclass(frozen=True, kw_only=True)
class Gpu(Command):
    name: ClassVar[str] = "gpu"
    title: ClassVar[Words] = Words("Devices", "장치 상태")
    about: ClassVar[Words] = Words(
        "The devices: memory, models, and who is running what",
        "장치의 메모리와 모델, 실행 중인 작업을 보여 줍니다",
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        devices = await asyncio.to_thread(tools.devices)  # asks the driver
        names = {job.id: job.name for job in await tools.store.jobs.running()}
        lines = [line for device in devices for line in _device(device, names)]
        return say(said, listed([*lines, _QUEUE(n=await tools.store.jobs.queued())]))


def _device(device: DeviceStatus, names: Mapping[int, str]) -> list[Words]:
    """A device, a line for its memory, one for its models, one for each work. Never anybody's prompt."""
    title = _DEVICE(name=device.name, label=f" · {device.label}" if device.label else "")
    lines = [title if device.alive else title + _DEAD]
    if device.total:
        memory = _GPU_MEMORY if device.name.startswith("cuda") else _MEMORY
        lines.append(memory(used=size(device.used), total=size(device.total), budget=size(device.budget)))
    models = [
        _MODEL(name=code(cut(model.name, 60)), size=size(model.size), busy=_BUSY if model.busy else "")
        for model in reversed(device.resident)
    ]
    lines.append(_MODELS(models=joined(models, ", ")) if models else _NO_MODELS)
    works = [_work(work, names.get(work.job, "")) for work in device.works[:SHOWN]]
    more = len(device.works) - len(works)
    return [*lines, *(works or [_IDLE]), *([_MORE(n=more)] if more > 0 else [])]


def _work(work: Held, name: str) -> Words:
    how = alike(bar(work.step, work.total)) if work.total else _STAGES.get(work.stage, _STAGES["waiting"])
    return _WORK(id=work.job, command=work.command, name=harmless(cut(name or "–", 40)), how=how)


_DEVICE = Words("**{name}**{label}", "**{name}**{label}")
_DEAD = Words("· stopped", "· 멈춤")
_GPU_MEMORY = Words(
    "Memory: {used} of {total} in use; models may take {budget}",
    "메모리: {total} 중 {used} 사용 중, 모델 한도 {budget}",
)
_MEMORY = Words(
    "Memory: {total}, of which the bot uses {used}; models may take {budget}",
    "메모리: {total} 중 봇이 {used} 사용 중, 모델 한도 {budget}",
)
_MODELS = Words("Loaded: {models}", "올라와 있는 모델: {models}")
_MODEL = Words("{name} {size}{busy}", "{name} {size}{busy}")
_BUSY = Words(" (in use)", " (사용 중)")
_NO_MODELS = Words("No model is loaded.", "올라와 있는 모델이 없습니다.")
_WORK = Words("#{id} {command} · {name} · {how}", "#{id} {command} · {name} · {how}")
_STAGES = {
    "waiting": Words("starting", "시작하는 중"),
    "running": Words("running", "실행 중"),
    "ending": Words("ending", "마무리하는 중"),
    "packing": Words("writing files", "파일을 쓰는 중"),
}
_IDLE = Words("Nothing is running.", "실행 중인 작업이 없습니다.")
_MORE = Words("… and {n} more", "… 외 {n}개")
_QUEUE = Words("Waiting in the queue: {n}", "대기 중인 작업: {n}개")
