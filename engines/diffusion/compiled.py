"""UNets compiled for a few sizes of batch, made ready on another thread while the plain ones serve.

A batch is filled up to the next size of `BUCKETS` by copies of its first row, and those answers are dropped; a size
that is not ready yet, and a batch with a LoRA in it, go through the plain module. What is compiled is a twin on the
very same weights: the hooks that LoRAs put on the plain one would else be missed, or baked in.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from engines.models.moving import sharing

log = logging.getLogger(__name__)

BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)  # rows
Compile = Callable[[torch.nn.Module], Callable[..., Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Inputs:
    """One UNet call, row by row."""

    rows: torch.Tensor  # (n, channels, h, w)
    clock: torch.Tensor  # (n,)
    text: torch.Tensor  # (n, tokens, width)
    guidance: torch.Tensor | None = None  # (n, width), of distilled UNets

    def through(self, unet: Callable[..., Any]) -> torch.Tensor:
        answer: torch.Tensor = unet(
            self.rows,
            self.clock,
            encoder_hidden_states=self.text,
            timestep_cond=self.guidance,
            return_dict=False,
        )[0]
        return answer

    def filled(self, size: int) -> Inputs:
        """The same with `size` rows: copies of the first one at the end."""
        return Inputs(
            _filled(self.rows, size),
            _filled(self.clock, size),
            _filled(self.text, size),
            None if self.guidance is None else _filled(self.guidance, size),
        )

    def blank(self) -> Inputs:
        """One row of ones, of the same shapes and kinds."""
        one = torch.ones_like
        guidance = None if self.guidance is None else one(self.guidance[:1])
        return Inputs(one(self.rows[:1]), one(self.clock[:1]), one(self.text[:1]), guidance)

    @property
    def shapes(self) -> tuple[Shape, Shape, bool]:
        """All that a compiled UNet depends on, besides the number of rows."""
        return tuple(self.rows.shape[1:]), tuple(self.text.shape[1:]), self.guidance is not None


def bucket(rows: int) -> int | None:
    """The size that a batch is filled up to; None where it is larger than all."""
    return next((size for size in BUCKETS if size >= rows), None)


def wanted(said: str, device: str) -> bool:
    """Whether to compile on `device` ("cuda:0", "cpu"): on CUDA alone where nobody said."""
    return said == "yes" or (said == "auto" and device.startswith("cuda"))


def inductor(unet: torch.nn.Module) -> Callable[..., Any]:
    """torch.compile with its own backend. One size, one graph; each module's graphs are counted apart."""
    apart: dict[str, Any] = {"recompile_limit": 4 * len(BUCKETS), "isolate_recompiles": True}
    made: Callable[..., Any] = torch.compile(unet, dynamic=False, **apart)
    return made


class Twin:
    """A UNet's compiled copy on the same weights, and the sizes it is ready for."""

    def __init__(self, unet: torch.nn.Module, compile: Compile) -> None:
        self.call = compile(sharing(unet))
        self.asked: set[tuple[Any, int]] = set()
        self.ready: set[tuple[Any, int]] = set()


class Unets:
    """Calls UNets, compiled where that is ready. Used on one device's thread; a thread of its own makes ready.

    Args:
        compile: what makes a module fast; None: everything goes through the plain ones.
    """

    def __init__(self, compile: Compile | None = None) -> None:
        self._compile = compile
        self._twins: weakref.WeakKeyDictionary[torch.nn.Module, Twin] = weakref.WeakKeyDictionary()
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.compiled = self.plain = 0  # calls

    def call(self, unet: torch.nn.Module, inputs: Inputs, *, adapted: bool = False) -> torch.Tensor:
        """The UNet's answer, (n, channels, h, w).

        Args:
            adapted: a row wants a LoRA: the plain module with its hooks is called.
        """
        count = len(inputs.rows)
        size = bucket(count)
        if self._compile is not None and not adapted and size is not None:
            twin = self._twin(unet)
            if twin is not None and (inputs.shapes, size) in twin.ready:
                answer = self._fast(twin, inputs.filled(size))
                if answer is not None:
                    self.compiled += 1
                    return answer[:count]
            elif twin is not None:
                self._ask(unet, twin, inputs, size)
        self.plain += 1
        return inputs.through(unet)

    def _twin(self, unet: torch.nn.Module) -> Twin | None:
        if unet not in self._twins and self._compile is not None:
            try:
                self._twins[unet] = Twin(unet, self._compile)
            except Exception as error:
                self._give_up(error)
        return self._twins.get(unet)

    def _fast(self, twin: Twin, inputs: Inputs) -> torch.Tensor | None:
        """The compiled answer. None, and never again, where that breaks; out of memory is the caller's matter."""
        try:
            return inputs.through(twin.call)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            self._give_up(error)
            return None

    def _ask(self, unet: torch.nn.Module, twin: Twin, inputs: Inputs, size: int) -> None:
        """Have this size made ready, once, with blank rows (not these, whose memory is somebody's)."""
        key = (inputs.shapes, size)
        if key in twin.asked:
            return
        twin.asked.add(key)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="compile", daemon=True)
            self._thread.start()
        row, held, threads = inputs.blank(), weakref.ref(unet), torch.get_num_threads()
        self._jobs.put(lambda: self._warm(held, key, row, size, threads))

    def _warm(
        self, held: weakref.ref[torch.nn.Module], key: tuple[Any, int], row: Inputs, size: int, threads: int
    ) -> None:
        """On the compiling thread, under what the device's thread works under: else it would compile anew."""
        unet = held()
        twin = self._twins.get(unet) if unet is not None else None
        if twin is None or self._compile is None:
            return  # evicted meanwhile, or given up
        torch.set_num_threads(threads)
        if row.rows.is_cuda:
            torch.cuda.set_device(row.rows.device)
        try:
            with torch.inference_mode():
                row.filled(size).through(twin.call)
            twin.ready.add(key)
        except (MemoryError, torch.OutOfMemoryError):
            twin.asked.discard(key)  # a shortage passes: asked again by the next batch of this size
        except BaseException as error:  # (a compiler's panic need be no `Exception`)
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        if self._compile is not None:
            self._compile = None
            why = str(error).strip().partition("\n")[0][:200]
            log.warning("no compiled UNets here (%s: %s); the plain ones serve", type(error).__name__, why)

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    def settled(self, seconds: float) -> bool:
        """Whether all that was asked for until now is ready, waiting so long at most. For tests and benchmarks."""
        done = threading.Event()
        self._jobs.put(done.set)
        return self._thread is None or done.wait(seconds)


def _filled(tensor: torch.Tensor, size: int) -> torch.Tensor:
    missing = size - len(tensor)
    return tensor if not missing else torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])])
