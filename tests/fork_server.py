"""Processes that are forked from one that has the libraries already: each begins in no time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@contextmanager
def fork_server(module: str) -> Iterator[ForkServerContext]:
    """`module` is one of the tests'; it is imported once."""
    context = multiprocessing.get_context("forkserver")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        context.set_forkserver_preload([module])
        first = context.Process(target=print)
        first.start()
        first.join()
        yield context
