"""Writes the parts of the READMEs that come from the code: `python -m docs.generate` (a test looks whether they do).

Between `<!-- NAME -->` and `<!-- /NAME -->` stand the command table, the options and the tree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.table import table as figure_table
from bot.menu import FORMS
from engines.forms import Form, Param
from engines.words import Language, Words

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("bot", "engines", "storage", "benchmarks", "tests")
README: dict[str, Language] = {"README.md": "en", "README.ko.md": "ko"}


def command_table(language: Language) -> str:
    """One row a command: its name, what it does, its options, those one must give in bold."""
    rows = [_row(*(head.of(language) for head in HEADS)), _row("---", "---", "---")]
    for form in FORMS:
        options = [f"**`{n}`**" if p.required else f"`{n}`" for n, p in form.params().items()]
        rows.append(_row(f"`/{form.name}`", form.about.of(language), " ".join(options) or "–"))
    return "\n".join(rows)


def option_table(language: Language) -> str:
    """One row an option: what it is, its default, what is allowed. Options of the same name share a row."""
    rows = [_row(*(head.of(language) for head in OPTION_HEADS)), _row("---", "---", "---", "---")]
    for name, default, p in _options():
        rows.append(_row(f"`{name}`", p.help.of(language), _default(default, p), _allowed(p)))
    return "\n".join(rows)


def tree(_: Language) -> str:
    """Every file of the house with the first sentence of its own docstring."""
    lines = ["```text"]
    for room in (room for room in ROOMS if any((ROOT / room).rglob("*.py"))):
        lines += _folder(ROOT / room, 0)
    return "\n".join([*lines, "```"])


BLOCKS: dict[str, Callable[[Language], str]] = {
    "commands": command_table,
    "options": option_table,
    "tree": tree,
    "figures": figure_table,
}


def filled(text: str, language: Language) -> str:
    """The README with its blocks written anew."""
    for name, write in BLOCKS.items():
        block = f"<!-- {name} -->\n{write(language)}\n<!-- /{name} -->" if f"<!-- {name} -->" in text else ""
        text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", block.replace("\\", "\\\\"), text, flags=re.S)
    return text


def _options() -> Iterator[tuple[str, Any, Param]]:
    seen: set[tuple[str, str]] = set()
    for form in FORMS:
        defaults = _defaults(form)
        for name, p in form.params().items():
            if (name, p.help.en) not in seen:
                seen.add((name, p.help.en))
                yield name, defaults.get(name), p


def _defaults(form: type[Form]) -> dict[str, Any]:
    return {name: getattr(form, name) for name in form.params() if hasattr(form, name)}


def _default(value: Any, p: Param) -> str:
    if p.required or value is None or value == "":
        return "–"
    return f"`{'yes' if value is True else 'no' if value is False else value}`"


def _allowed(p: Param) -> str:
    if p.choices:
        return ", ".join(p.choices)
    if p.kind in ("int", "float") and p.low is not None and p.high is not None:
        return f"≥ {p.low:.12g}" if p.endless else f"{p.low:.12g} … {p.high:.12g}"
    return "yes, no" if p.kind == "flag" else "–"


def _folder(folder: Path, depth: int) -> Iterator[str]:
    own = folder / "__init__.py"
    yield _line(f"{folder.name}/", _about(own) if own.exists() else "", depth)
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir() and any(path.rglob("*.py")) and path.name != "__pycache__":
            yield from _folder(path, depth + 1)
        elif path.suffix == ".py" and path != own:
            yield _line(path.name, _about(path), depth + 1)


def _line(name: str, about: str, depth: int) -> str:
    start = "  " * depth + name
    return f"{start:<30} {about}".rstrip()


def _about(file: Path) -> str:
    """The first sentence of a module's docstring."""
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return re.split(r"\.\s|\.$", " ".join(said.split("\n\n")[0].split()))[0]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


HEADS = (Words("command", "명령"), Words("what it does", "하는 일"), Words("options", "옵션"))
OPTION_HEADS = (
    Words("option", "옵션"),
    Words("what it is", "뜻"),
    Words("default", "기본값"),
    Words("allowed", "허용 범위"),
)

if __name__ == "__main__":
    for name, language in README.items():
        file = ROOT / name
        file.write_text(filled(file.read_text(encoding="utf-8"), language), encoding="utf-8")
