"""What finished parts of a job left in its folder, so that no restart does them again.

A part's files are made durable before the note that names them; the note tells for which request it was, so that
nothing of another one is ever taken for it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import recipe
from engines.events import Artifact
from engines.request import Part
from engines.words import Words
from storage.database import sync

NOTE = "made.json"


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one part; `failure` says why there is nothing."""

    part: Part
    artifacts: tuple[Artifact, ...] = ()
    notes: tuple[Words, ...] = ()
    failure: Words | None = None
    code: str = ""  # of the failure


def keep(folder: Path, made: Made) -> None:
    """Write down how the part in `folder` ended. Its artifacts lie in `folder`. Raises `OSError`."""
    for artifact in made.artifacts:
        sync(artifact.path)
    note = {
        "key": _key(made.part),
        "artifacts": [_told(artifact) for artifact in made.artifacts],
        "notes": [[note.en, note.ko] for note in made.notes],
        "failure": [made.failure.en, made.failure.ko] if made.failure else None,
        "code": made.code,
    }
    recipe.write(folder / NOTE, json.dumps(note, ensure_ascii=False).encode())
    sync(folder)


def kept(folder: Path, part: Part) -> Made | None:
    """How the part ended in an earlier life; None where that is not known, or its files are not whole."""
    try:
        note = json.loads((folder / NOTE).read_bytes())
        if note["key"] != _key(part):
            return None
        artifacts = tuple(_artifact(folder, told) for told in note["artifacts"])
        failure = Words(*note["failure"]) if note["failure"] else None
        notes = tuple(Words(*pair) for pair in note["notes"])
        return Made(part, artifacts, notes, failure, str(note["code"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _told(artifact: Artifact) -> dict[str, Any]:
    path = artifact.path
    return {
        "file": path.name, "bytes": path.stat().st_size, "name": artifact.name, "media": artifact.media,
        "recipe": artifact.recipe, "width": artifact.width, "height": artifact.height,
    }  # fmt: skip


def _artifact(folder: Path, told: dict[str, Any]) -> Artifact:
    path = folder / Path(told["file"]).name
    if path.stat().st_size != told["bytes"]:
        raise ValueError("not whole")
    return Artifact(path, told["name"], told["media"], told["recipe"], told["width"], told["height"])


def _key(part: Part) -> str:
    asked = [part.name, part.request.name, part.request.to_json()]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
