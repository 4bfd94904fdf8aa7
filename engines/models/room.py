"""Who leaves a device's memory when a model comes. Pure: sizes in, hashes out. And what hangs on others there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from engines.engine import Busy
from engines.failures import out_of_memory
from engines.words import Refusal, Words

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """What a piece in memory takes up, and whether it may go."""

    size: int  # bytes
    leases: int
    on: tuple[str, ...] = ()  # hashes of the pieces it is put on: it goes when one of them does


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory, for people who look."""

    name: str
    size: int  # bytes of its pieces; those of several models count for the one that used them last
    busy: bool  # somebody works with it


class Attaches(Protocol):
    """What a piece that is put on others (a LoRA) loads."""

    def attach(self, things: Mapping[str, Any]) -> None:
        """Put it on the model's other pieces, by role. Raises `Refusal`, with nothing changed."""
        ...

    def detach(self) -> None: ...


def leaving(name: str, wanted: Mapping[str, int], held: Mapping[str, Place], budget: int | None) -> list[str]:
    """The pieces to evict, in order, so that the model `name` fits; no more than must.

    Args:
        wanted: hash → bytes of the model's pieces.
        held: what is in memory, least recently used first.
        budget: bytes; None = no limit.

    Raises:
        Refusal: the model is larger than the budget.
        Busy: it fits once others have closed their leases.
    """
    whole = sum(wanted.values())
    if budget is None:
        return []
    if whole > budget:
        raise Refusal(_TOO_LARGE(name=name, need=_gib(whole), have=_gib(budget)))
    missing = sum(size for hash, size in wanted.items() if hash not in held)
    idle = [hash for hash, place in held.items() if not place.leases and hash not in wanted]
    short = sum(place.size for place in held.values()) + missing - budget
    if short > sum(held[hash].size for hash in idle):
        raise Busy(_BUSY(name=name, need=_gib(whole), have=_gib(budget)))
    going: dict[str, int] = {}
    for hash in idle:
        if sum(going.values()) >= short:
            break
        going |= {one: held[one].size for one in (*put_on(hash, held), hash)}
    return list(going)


def put_on(hash: str, held: Mapping[str, Place]) -> list[str]:
    """The adapters on a piece; with it idle they are too, for whoever leases them leases it."""
    return [own for own, place in held.items() if hash in place.on]


def check(held: Mapping[str, Place], budget: int | None) -> None:
    """AssertionError where the books are wrong."""
    used = sum(place.size for place in held.values())
    assert budget is None or used <= budget, f"{used} of {budget} bytes"
    for hash, place in held.items():
        assert place.leases >= 0
        assert all(under in held for under in place.on), f"{hash} hangs in the air"
        assert all(held[under].leases >= place.leases for under in place.on), f"{hash} may lose what it is on"


def twice(do: Callable[[], T], free: Callable[[str], None]) -> T:
    """`do`; where the memory is not enough, `free` (told the error's class) and `do` once more."""
    try:
        return do()
    except Exception as error:
        if not out_of_memory(error):
            raise
        kind = type(error).__name__
    free(kind)  # outside the handler: the error's traceback keeps alive what was being made
    return do()


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


_TOO_LARGE = Words(
    "The model `{name}` needs {need} of memory, and this device has {have} for models. Choose a smaller model, "
    "or ask an administrator to raise the memory budget.",
    "`{name}` 모델에는 메모리 {need}가 필요하지만 이 장치에서 모델이 쓸 수 있는 메모리는 {have}입니다. "
    "더 작은 모델을 고르거나 관리자에게 메모리 한도를 늘려 달라고 요청해 주십시오.",
)
_BUSY = Words(
    "The model `{name}` needs {need} of memory; the {have} for models are taken by work in progress.",
    "`{name}` 모델에는 메모리 {need}가 필요하지만, 모델용 메모리 {have}를 진행 중인 작업이 쓰고 있습니다.",
)
