"""What tests of many files are given: a store, a reader of pictures, a desk, works, models, one thread of torch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from desk_world import World, opened, picture_reader

from bot.pictures.reading import PictureReader
from engines.engine import Work
from storage.store import Store

if TYPE_CHECKING:
    from cleanup_world import Studio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path) as store:
        yield store


@pytest.fixture(scope="module")
def reader() -> Iterator[PictureReader]:
    with picture_reader() as reader:
        yield reader


@pytest.fixture
async def world(tmp_path: Path, reader: PictureReader) -> AsyncIterator[World]:
    async with opened(tmp_path, reader) as world:
        yield world


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Work]:
    """Works for the toy engine, each with a number and a folder of its own."""
    from toy_engine import Count

    numbers = iter(range(1, 10**6))

    def ask(person: str = "kim", **request: Any) -> Work:
        number = next(numbers)
        folder = tmp_path / str(number)
        folder.mkdir()
        return Work(number, person, Count(**request), folder)

    return ask


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a base for pictures and one for inpainting."""
    import training_world  # here, like the others that take seconds to import

    return training_world.bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a big-lama in it that is not the real one."""
    import cleanup_world

    return cleanup_world.network(tmp_path_factory.mktemp("models"))


@pytest.fixture
def cv2(tmp_path: Path) -> Studio:
    """A studio that cleans up by OpenCV."""
    import cleanup_world

    return cleanup_world.by_opencv(tmp_path)


@pytest.fixture
def lama(tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """One that cleans up by `network`'s."""
    import cleanup_world

    return cleanup_world.by_lama(tmp_path, network, monkeypatch)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Each test begins with one thread of torch: the same sums in the same order, and no waiting for each other."""
    yield from _one_thread()


@pytest.fixture(scope="module")
def one_thread_throughout() -> Iterator[None]:
    """The same, from before the first fixture of a module."""
    yield from _one_thread()


def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
