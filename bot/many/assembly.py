"""From finished parts to one answer: results in the order in which they are stored, what is shown coming first.

The default is a contact sheet and every part's results, named like what was sent. A result whose recipe has
`SHEET` is shown; the others go into an archive when the answer is packed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from bot.many.part_files import Made
from bot.models.comparing import table
from bot.pictures.sheets import Cell, contact_sheet
from engines.engine import Work
from engines.events import Artifact

SHEET = "sheet"
CELLS = 600  # pictures on one sheet at most


@dataclass(frozen=True, slots=True)
class Assembly:
    """A job whose parts have all ended, at least one of them well."""

    work: Work
    made: tuple[Made, ...]  # in the order of the request's parts, failures too


Assembler = Callable[[Assembly], tuple[Artifact, ...]]  # on a thread; writes into `work.folder`

ASSEMBLERS: dict[str, Assembler] = {"compare": table}  # command → its own way


def assembled(assembly: Assembly) -> tuple[Artifact, ...]:
    """The results of the whole job."""
    return ASSEMBLERS.get(assembly.work.request.name, sheet_and_all)(assembly)


def sheet_and_all(assembly: Assembly) -> tuple[Artifact, ...]:
    """A contact sheet, and all that was made."""
    named = tuple(_named(assembly.made))
    cells = [cell for made in assembly.made for cell in _cells(assembly.work, made)]
    if len(cells) > CELLS:
        cells = [next(iter(_cells(assembly.work, made))) for made in assembly.made]
    picture = contact_sheet(cells[:CELLS])
    path = assembly.work.folder / "sheet.png"
    picture.save(path, "PNG", compress_level=6)
    first = named[0].recipe if named else {}
    told: dict[str, Any] = {key: first[key] for key in ("model", "hash") if key in first}
    told[SHEET] = len(assembly.made)
    return (Artifact(path, "contact-sheet.png", "image/png", told, picture.width, picture.height), *named)


def _named(made: tuple[Made, ...]) -> Iterator[Artifact]:
    """Every artifact under its input's name; its own ending, and a number where a part has several."""
    taken: set[str] = set()
    for one in made:
        for i, artifact in enumerate(one.artifacts, 1):
            base = str(PurePosixPath(one.part.name).with_suffix(""))
            stem = f"{base}-{i}" if len(one.artifacts) > 1 else base
            yield replace(artifact, name=_free(stem, Path(artifact.name).suffix, taken))


def _free(stem: str, suffix: str, taken: set[str]) -> str:
    """A name nobody has, on systems too that do not tell A from a."""
    name, n = stem + suffix, 1
    while name.casefold() in taken:
        n += 1
        name = f"{stem}-{n}{suffix}"
    taken.add(name.casefold())
    return name


def _cells(work: Work, made: Made) -> Iterator[Cell]:
    """What the sheet shows of a part: its pictures; what it was made of where they are none."""
    pictures = [artifact for artifact in made.artifacts if artifact.media.startswith("image/")]
    for i, artifact in enumerate(pictures, 1):
        yield Cell(made.part.name + (f" ({i})" if len(pictures) > 1 else ""), artifact.path)
    if not pictures:
        image = work.files.get(getattr(made.part.request, "image", ""))
        text = next((str(a.recipe["prompt"]) for a in made.artifacts if a.recipe.get("prompt")), "")
        yield Cell(made.part.name, image, text, failed=made.failure is not None)
