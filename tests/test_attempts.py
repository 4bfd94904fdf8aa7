"""Attempts at a work: the newest has everything, and nobody else's writing is looked at again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bot import leftovers
from engines.events import Artifact
from engines.serving import attempts


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write(folder: Path, **said: str) -> None:
    for name, text in said.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def checkpoint(attempt: Path, step: int) -> Path:
    path = attempt / f"checkpoint-{step:06}" / "weights"
    path.parent.mkdir()
    path.write_text(f"of step {step}")
    return path


def test_what_an_attempt_made_becomes_the_works(folder: Path) -> None:
    attempt = attempts.opened(folder)
    write(attempt, a="picture", samples__b="sample")
    (told,) = attempts.accepted(attempt, [Artifact(attempt / "a", "a.png")])
    assert told == Artifact(folder / "a", "a.png")
    assert files(folder) == {"a": "picture", "samples/b": "sample"}


def test_an_artifact_from_elsewhere_is_not_accepted(folder: Path) -> None:
    old = attempts.opened(folder)
    write(old, a="picture")
    with pytest.raises(ValueError, match="not in the subpath"):
        attempts.accepted(attempts.opened(folder), [Artifact(old / "a", "a.png")])


def test_the_next_attempt_goes_on_with_all_that_is_there(folder: Path) -> None:
    first = attempts.opened(folder)
    write(first, log="1\n", **{"class__00": "made"})
    checkpoint(first, 10)
    second = attempts.opened(folder)
    assert first.name < second.name
    assert files(folder) == {
        f"{second.name}/checkpoint-000010/weights": "of step 10",
        f"{second.name}/class/00": "made",
        f"{second.name}/log": "1\n",
    }


def test_what_was_put_back_is_taken_up_again(folder: Path) -> None:
    first = attempts.opened(folder)
    checkpoint(first, 10)
    attempts.accepted(first)
    assert files(folder) == {"checkpoint-000010/weights": "of step 10"}
    second = attempts.opened(folder)
    assert files(second) == {"checkpoint-000010/weights": "of step 10"}
    assert [path.name for path in folder.iterdir()] == [second.name]


def test_a_writer_that_is_cut_off_changes_nothing(folder: Path) -> None:
    old = attempts.opened(folder)
    write(old, log="1\n")
    checkpoint(old, 10)
    with (old / "log").open("a") as still_open:
        new = attempts.opened(folder)
        before = files(folder)
        still_open.write("2\n")
        still_open.flush()
        with pytest.raises(FileNotFoundError):
            checkpoint(old, 20)
        with pytest.raises(FileNotFoundError):
            attempts.accepted(old)
    assert files(folder) == before
    assert files(new)["log"] == "1\n"


def test_numbers_are_never_given_twice_even_in_an_emptied_folder(folder: Path) -> None:
    first = attempts.opened(folder)
    first.rmdir()
    second = attempts.opened(folder)
    assert first.name[:12] == second.name[:12]
    assert first.name != second.name


def test_an_attempt_whose_making_was_killed_is_swept_and_what_is_half_written_left_out(folder: Path) -> None:
    first = attempts.opened(folder)
    checkpoint(first, 10)
    write(first, **{".saving-000020__weights": "half"})
    write(folder, **{".attempt-0002-dead__log": "half"})
    second = attempts.opened(folder)
    assert files(folder) == {f"{second.name}/checkpoint-000010/weights": "of step 10"}


def test_checkpoints_are_taken_over_without_copying_where_the_disk_can(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = attempts.opened(folder)
    node = checkpoint(first, 10).stat().st_ino
    second = attempts.opened(folder)
    assert (second / "checkpoint-000010" / "weights").stat().st_ino == node

    def cannot(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no links here")

    monkeypatch.setattr(os, "link", cannot)
    third = attempts.opened(folder)
    assert files(third) == {"checkpoint-000010/weights": "of step 10"}


def test_a_job_with_a_checkpoint_in_an_attempt_can_be_gone_on_from(folder: Path) -> None:
    assert not leftovers.resumable(folder)
    checkpoint(attempts.opened(folder), 10)
    assert leftovers.resumable(folder)
