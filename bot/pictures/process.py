"""One process that decodes pictures, as the reader's thread sees it: asked, watched, and ended."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.pictures import frames
from bot.pictures.words import TOO_LONG, TOO_MUCH_MEMORY
from engines.words import Refusal

if TYPE_CHECKING:
    from bot.pictures.reading import PictureLimits

WALL = 4.0


class Worker:
    """One process of `bot.pictures.worker`, used by one thread. Mutable: it dies."""

    def __init__(self, limits: PictureLimits) -> None:
        self.seconds = limits.seconds
        figures = [limits.memory_bytes, math.ceil(limits.seconds), limits.pixels]
        root = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bot.pictures.worker", *(str(figure) for figure in figures)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders chat about every broken file
            cwd=root,
            env=_few_variables(root),  # no token is in there
        )
        self.late = False

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(
        self, header: dict[str, Any], parts: Sequence[bytes], name: str
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Send and wait for the answer. A worker that dies or is too slow ends as a `Refusal`."""
        assert self.process.stdin
        assert self.process.stdout
        watch = threading.Timer(WALL * self.seconds, self._stop_late)
        watch.start()
        try:
            frames.send(self.process.stdin, header, parts)  # type: ignore[arg-type]
            head, answer = frames.receive(self.process.stdout)  # type: ignore[arg-type]
        except (EOFError, OSError):
            raise self._why_it_died(name) from None
        finally:
            watch.cancel()
        if "memory" in head:
            self.end()
            raise Refusal(TOO_MUCH_MEMORY(name=name))
        return head, answer

    def _stop_late(self) -> None:
        self.late = True
        self.kill()

    def _why_it_died(self, name: str) -> Exception:
        code = self.end()
        if self.late or code == -signal.SIGXCPU:
            return Refusal(TOO_LONG(name=name, seconds=f"{self.seconds:g}"))
        if code < 0:  # a decoder that crashes, or the system's own memory killer
            return Refusal(TOO_MUCH_MEMORY(name=name))
        return RuntimeError(f"the picture worker ended with {code}")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def end(self) -> int:
        """Gone for good, with nothing left open; the exit code."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            return self.process.wait(1)  # a closed pipe is its sign to leave
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.wait()


def _few_variables(root: Path) -> dict[str, str]:
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | threads | {"PYTHONPATH": str(root), "MALLOC_ARENA_MAX": "2", "PYTHONSAFEPATH": "1"}
