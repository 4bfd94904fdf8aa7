"""Models in memory under a byte budget: who leases what, and who leaves when it gets full.

A model is pieces known by the hash of their content, so that siblings share them; a leased piece stays. No torch here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from engines.models.host import HostCache, always
from engines.models.room import Attaches, Place, Resident, check, leaving, put_on, twice

T = TypeVar("T")
ROLES = ("tokenizer", "text_encoder", "vae", "unet")  # of a diffusion model's pieces


@dataclass(frozen=True, slots=True)
class Piece:
    """One component as it lies on disk."""

    role: str  # one of `ROLES`, or another's own
    hash: str  # of its configuration and weights
    size: int  # bytes once loaded
    load: Callable[[], Any]  # onto its device
    on: tuple[str, ...] = ()  # hashes of the pieces it is put on (a LoRA): it leaves when one of them does
    read: Callable[[], Any] | None = None  # from disk into main memory, for those that a `HostCache` may keep


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
    multiple: int = 64  # pixels: a picture's sides are whole cells at the UNet's coarsest level
    prompt_noise: float = 0.0  # on the prompt's embedding, in its standard deviations, as it was trained with
    references: tuple[Any, ...] = field(default=(), compare=False)  # patches of what it was trained on

    def parts(self, things: Mapping[str, Any], device: str, dtype: str) -> Parts:
        """The model with its pieces, by role, loaded."""
        return Parts(
            name=self.name,
            hash=self.hash,
            **{role: things.get(role) for role in ROLES},
            scheduler_config=self.scheduler_config,
            prediction_type=self.prediction_type,
            in_channels=self.in_channels,
            native=self.native,
            scale=self.scale,
            multiple=self.multiple,
            device=device,
            dtype=dtype,
            hashes={piece.role: piece.hash for piece in self.pieces},
            prompt_noise=self.prompt_noise,
            references=self.references,
        )


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
    multiple: int
    device: str
    dtype: str  # "float32", "bfloat16", "float16"
    hashes: Mapping[str, str]  # role → the piece's hash
    prompt_noise: float = 0.0
    references: tuple[Any, ...] = field(default=(), compare=False)  # `engines.picking.Patch`es

    @property
    def guidance(self) -> float:
        """What suits it where nobody said: the 7.5 of SD's makers; 3 for small models, which more drives into glare."""
        return 7.5 if self.native >= 256 else 3.0

    @property
    def adapter(self) -> str:
        """The LoRA that this model's rows of a batch want on the shared modules; "" for none."""
        return self.hashes.get("lora", "")


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

    def __exit__(self, *error: object) -> None:
        self.close()


class Models:
    """The models of one device; used on that device's thread only, except where it says so.

    Args:
        read: a model's name and the kind of work (`txt2img`, `img2img`, `inpaint`; it may choose another default
            for an empty name) → what lies on disk. May be slow the first time; called on any thread.
        budget: bytes that the pieces may take together, or None for no limit.
        device, dtype: told in `Parts`; `read` has seen to it that the pieces load there.
        emptied: called after evictions, so that the device's allocator can let go of its memory.
        host: keeps what leaves, and what is read ahead; None where the device's memory is the host's.
    """

    def __init__(
        self,
        read: Callable[[str, str], Blueprint],
        *,
        budget: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        emptied: Callable[[], None] = lambda: None,
        host: HostCache | None = None,
    ) -> None:
        self._read = read
        self._budget = budget
        self.device = device
        self.dtype = dtype
        self._emptied = emptied
        self._host = host or HostCache(0, lambda thing, device: thing, lambda thing: thing)
        self._known: dict[tuple[str, str], Blueprint] = {}  # what `prepare` found: name and kind → plan
        self._held: OrderedDict[str, _Held] = OrderedDict()  # by hash, least recently used first

    def prepare(self, name: str, kind: str) -> Blueprint:
        """Fetch and hash what `lease` will need. For another thread, so that the device need not wait."""
        self.expect(name, kind, plan := self._read(name, kind))
        return plan

    def expect(self, name: str, kind: str, plan: Blueprint) -> None:
        """As `prepare`, for a plan that `take` will be asked for."""
        self._known[name, kind] = plan

    def prefetch(self, name: str, kind: str, wanted: Callable[[], bool] = always) -> None:
        """Read what `lease` will need into main memory, while the device works on. For another thread.

        Takes nothing from the device, of the host's memory what nobody uses, and drops what is not `wanted` any more.
        """
        plan = self._known.get((name, kind))
        for piece in plan.pieces if plan else ():
            if piece.read is not None and not self.warm(piece.hash):
                self._host.fetch((piece.hash, self.dtype), piece.size, piece.read, wanted)

    def ready(self, name: str, kind: str) -> bool:
        """Whether `lease` would load nothing, as far as `prepare` has found out. From any thread, at once."""
        plan = self._known.get((name, kind))
        return plan is not None and all(self.warm(piece.hash) for piece in plan.pieces)

    def lease(self, name: str, kind: str) -> Lease:
        """The model's parts, loaded where they are not yet.

        Raises `Refusal`: there is no such model, it cannot do this kind, or it is larger than the budget; and
        `Busy`: it fits once others have closed their leases.
        """
        return self.take(self._read(name, kind))

    def take(self, plan: Blueprint) -> Lease:
        """`lease`, and raising what it raises, for a plan of any kind of model, within one budget."""
        return self.roomily(lambda: self._lease(plan))

    def roomily(self, do: Callable[[], T]) -> T:
        """`do`; where the memory is not enough for it, once more after all that is idle was evicted."""
        return twice(do, self._free)

    def _free(self, error: str) -> None:
        if error == "MemoryError":
            self._host.clear()
        self.clear()

    def _lease(self, plan: Blueprint) -> Lease:
        with self._host.reserved([(piece.hash, self.dtype) for piece in plan.pieces]):
            wanted = {piece.hash: piece.size for piece in plan.pieces}
            self._evict(leaving(plan.name, wanted, self._places(), self._budget))
            return self._leased(plan)

    def _leased(self, plan: Blueprint) -> Lease:
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
        return Lease(plan.parts(things, self.device, self.dtype), self, plan.pieces, things)

    def warm(self, hash: str) -> bool:
        """Whether a piece is in memory. From any thread, as `prepare`, `held`, `used` and `budget`."""
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
        """Drop one piece and the adapters on it, if nobody leases it."""
        if hash in self._held and not self._held[hash].leases:
            self._evict([*put_on(hash, self._places()), hash])

    def clear(self) -> bool:
        """Drop everything that is not leased; whether there was any."""
        self._evict(idle := [hash for hash, held in self._held.items() if not held.leases])
        return bool(idle)

    def check_integrity(self) -> None:
        """AssertionError where the books are wrong: over the budget, or an adapter without what it is on."""
        check(self._places(), self._budget)

    def _places(self) -> dict[str, Place]:
        return {hash: Place(h.piece.size, h.leases, h.piece.on) for hash, h in self._held.items()}

    def _evict(self, hashes: list[str]) -> None:
        going = [self._held.pop(hash) for hash in hashes]
        for held in going:
            if held.piece.on:
                held.thing.detach()
        for held in going:  # now that nothing hangs on it
            if held.piece.read is not None:
                self._host.keep((held.piece.hash, self.dtype), held.piece.size, held.thing)
        if hashes:
            self._emptied()

    def _take(self, piece: Piece, things: Mapping[str, Any]) -> Any:
        held = self._held.get(piece.hash)
        if held is None:
            thing = self._loaded(piece)
            if piece.on:
                adapter: Attaches = thing
                adapter.attach(things)
            held = self._held[piece.hash] = _Held(piece, thing)
        held.leases += 1
        self._held.move_to_end(piece.hash)
        return held.thing

    def _loaded(self, piece: Piece) -> Any:
        if not self._host.budget or piece.read is None:
            return piece.load()
        return self._host.take((piece.hash, self.dtype), piece.size, piece.read, self.device)

    def _give_back(self, pieces: tuple[Piece, ...]) -> None:
        for piece in pieces:
            self._held[piece.hash].leases -= 1
