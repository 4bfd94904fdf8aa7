"""Models in memory under a byte budget: who leases what, and who leaves when it gets full.

A model is a handful of pieces (tokenizer, text encoder, VAE, UNet), each known by the hash of its content, so
that fine-tunes and siblings share what is equal. A leased piece is never evicted. Importing this loads no torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from engines.engine import Busy
from engines.words import Refusal, Words


@dataclass(frozen=True, slots=True)
class Piece:
    """One component as it lies on disk."""

    role: str  # tokenizer, text_encoder, vae, unet
    hash: str  # of its configuration and weights
    size: int  # bytes once loaded
    load: Callable[[], Any]
    on: tuple[str, ...] = ()  # hashes of the pieces it is put on (a LoRA): it leaves when one of them does


class Attaches(Protocol):
    """What a piece with an `on` loads."""

    def attach(self, things: Mapping[str, Any]) -> None:
        """Put it on the model's other pieces, by role. Raises `Refusal`, with nothing changed."""
        ...

    def detach(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model as it lies on disk: its pieces and the facts that sampling needs."""

    name: str
    hash: str  # of all pieces and the scheduler's configuration
    pieces: tuple[Piece, ...]
    scheduler_config: Mapping[str, Any] = field(default_factory=dict)
    prediction_type: str = "epsilon"  # or v_prediction, sample
    in_channels: int = 4  # 9 = made for inpainting: [latents, mask, masked photo]
    native: int = 512  # the side in pixels it was trained at
    scale: int = 8  # pixels a latent cell


@dataclass(frozen=True, slots=True)
class Parts:
    """A loaded model. What is in it is shared: nobody may change it."""

    name: str
    hash: str
    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler_config: Mapping[str, Any]
    prediction_type: str
    in_channels: int
    native: int
    scale: int
    device: str
    dtype: str  # "float32", "bfloat16", "float16"
    hashes: Mapping[str, str]  # role → the piece's hash

    @property
    def adapter(self) -> str:
        """The LoRA that this model's rows of a batch want on the shared UNet and text encoder; "" for none."""
        return self.hashes.get("lora", "")


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory, for people who look."""

    name: str
    size: int  # bytes of its pieces; those of several models count for the one that used them last
    busy: bool  # somebody works with it


@dataclass(slots=True)
class _Held:
    piece: Piece
    thing: Any
    leases: int = 0
    model: str = ""  # that used it last


class Lease:
    """The right to use a model's parts until `close`, which may be called twice."""

    def __init__(
        self, parts: Parts, models: Models, pieces: tuple[Piece, ...], things: Mapping[str, Any]
    ) -> None:
        self.parts = parts
        self.things = things  # role → what was loaded, for models that are no diffusion models
        self._models = models
        self._pieces = pieces

    def close(self) -> None:
        pieces, self._pieces = self._pieces, ()
        self._models._give_back(pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Models:
    """The models of one device; used on that device's thread only, except `prepare`, `held`, `resident` and `warm`.

    Args:
        read: a model's name and the kind of work (`txt2img`, `img2img`, `inpaint`; it may choose another default
            for an empty name) → what lies on disk. May be slow the first time; called on any thread.
        budget: bytes that the pieces may take together, or None for no limit.
        device, dtype: told in `Parts`; `read` has seen to it that the pieces load there.
        emptied: called after evictions, so that the device's allocator can let go of its memory.
    """

    def __init__(
        self,
        read: Callable[[str, str], Blueprint],
        *,
        budget: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        emptied: Callable[[], None] = lambda: None,
    ) -> None:
        self._read = read
        self._budget = budget
        self.device = device
        self.dtype = dtype
        self._emptied = emptied
        self._held: OrderedDict[str, _Held] = OrderedDict()  # by hash, least recently used first

    def prepare(self, name: str, kind: str) -> None:
        """Fetch and hash what `lease` will need. For another thread, so that the device need not wait."""
        self._read(name, kind)

    def lease(self, name: str, kind: str) -> Lease:
        """The model's parts, loaded where they are not yet.

        Raises:
            Refusal: there is no such model, it cannot do this kind, or it is larger than the budget.
            Busy: it fits once others have closed their leases.
        """
        return self.take(self._read(name, kind))

    def take(self, plan: Blueprint) -> Lease:
        """The pieces of `plan`, loaded where they are not yet: `lease` for models of any kind, within one budget.

        Raises `Refusal` and `Busy` as `lease` does.
        """
        self._make_room(plan)
        taken: list[Piece] = []
        try:
            things: dict[str, Any] = {}
            for piece in plan.pieces:
                things[piece.role] = self._take(piece, things)
                self._held[piece.hash].model = plan.name
                taken.append(piece)
        except BaseException:
            self._give_back(tuple(taken))
            raise
        return Lease(self._parts(plan, things), self, plan.pieces, things)

    def warm(self, hash: str) -> bool:
        """Whether a piece is in memory."""
        return hash in self._held

    def held(self) -> list[tuple[str, int, int]]:
        """(role, bytes, leases) of every piece in memory, least recently used first."""
        return [(h.piece.role, h.piece.size, h.leases) for h in list(self._held.values())]

    def resident(self) -> tuple[Resident, ...]:
        """Every model in memory, least recently used first. From any thread."""
        found: dict[str, Resident] = {}
        for held in list(self._held.values()):
            before = found.pop(held.model, Resident(held.model, 0, False))
            busy = before.busy or held.leases > 0
            found[held.model] = Resident(held.model, before.size + held.piece.size, busy)
        return tuple(found.values())

    @property
    def budget(self) -> int | None:
        """Bytes that all together may take; None = no limit."""
        return self._budget

    @property
    def used(self) -> int:
        """Bytes in memory."""
        return sum(held.piece.size for held in list(self._held.values()))

    def forget(self, hash: str) -> None:
        """Drop one piece, if nobody leases it."""
        if hash in self._held and not self._held[hash].leases:
            self._evict([hash])

    def clear(self) -> None:
        """Drop everything that is not leased."""
        self._evict([hash for hash, held in self._held.items() if not held.leases])

    def _make_room(self, plan: Blueprint) -> None:
        wanted = {piece.hash: piece.size for piece in plan.pieces}
        whole = sum(wanted.values())
        if self._budget is None:
            return
        if whole > self._budget:
            raise Refusal(_TOO_LARGE(name=plan.name, need=_gib(whole), have=_gib(self._budget)))
        missing = sum(size for hash, size in wanted.items() if hash not in self._held)
        idle = [hash for hash, held in self._held.items() if not held.leases and hash not in wanted]
        short = self.used + missing - self._budget
        if short > sum(self._held[hash].piece.size for hash in idle):
            raise Busy(_BUSY(name=plan.name, need=_gib(whole), have=_gib(self._budget)))
        leaving: dict[str, int] = {}
        for hash in idle:  # the least recently used leave first, and no more than must
            if sum(leaving.values()) >= short:
                break
            leaving |= {one: self._held[one].piece.size for one in (*self._put_on(hash), hash)}
        self._evict(list(leaving))

    def _put_on(self, hash: str) -> list[str]:
        """The adapters on a piece; with it idle they are too, for whoever leases them leases it."""
        return [own for own, held in self._held.items() if hash in held.piece.on]

    def _evict(self, hashes: list[str]) -> None:
        for hash in hashes:
            held = self._held.pop(hash)
            if held.piece.on:
                held.thing.detach()
        if hashes:
            self._emptied()

    def _take(self, piece: Piece, things: Mapping[str, Any]) -> Any:
        held = self._held.get(piece.hash)
        if held is None:
            thing = piece.load()
            if piece.on:
                adapter: Attaches = thing
                adapter.attach(things)
            held = self._held[piece.hash] = _Held(piece, thing)
        held.leases += 1
        self._held.move_to_end(piece.hash)
        return held.thing

    def _give_back(self, pieces: tuple[Piece, ...]) -> None:
        for piece in pieces:
            self._held[piece.hash].leases -= 1

    def _parts(self, plan: Blueprint, things: Mapping[str, Any]) -> Parts:
        return Parts(
            name=plan.name,
            hash=plan.hash,
            tokenizer=things.get("tokenizer"),
            text_encoder=things.get("text_encoder"),
            vae=things.get("vae"),
            unet=things.get("unet"),
            scheduler_config=plan.scheduler_config,
            prediction_type=plan.prediction_type,
            in_channels=plan.in_channels,
            native=plan.native,
            scale=plan.scale,
            device=self.device,
            dtype=self.dtype,
            hashes={piece.role: piece.hash for piece in plan.pieces},
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


_TOO_LARGE = Words(
    "The model `{name}` needs {need} of memory, and this device has {have} for models. Choose a smaller model, "
    "or ask an administrator to raise the memory budget.",
    "`{name}` 모델에는 메모리 {need}가 필요하지만 이 장치에서 모델이 쓸 수 있는 메모리는 {have}입니다. "
    "더 작은 모델을 고르거나 관리자에게 메모리 한도를 늘려 달라고 요청해 주세요.",
)
_BUSY = Words(
    "The model `{name}` needs {need} of memory; the {have} for models are taken by work in progress.",
    "`{name}` 모델에는 메모리 {need}가 필요하지만, 모델용 메모리 {have}를 진행 중인 작업이 쓰고 있습니다.",
)
