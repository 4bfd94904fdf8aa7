"""Writes config.example.toml from the models in `bot.settings.config`: `python -m bot.settings.example > config.example.toml`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from bot.settings.config import Config
from bot.settings.errors import NAME, named_section_of, section_of

HEAD = """\
# Defect Studio. Every key with its default: keep the ones you change, or copy the file as it is.
# Relative paths are taken from this file's folder. Check it with `defect-studio doctor -c config.toml`.
"""


def example() -> str:
    """The whole example: plain keys first, then each section."""
    parts = [HEAD]
    plain = [
        name for name, info in Config.model_fields.items() if not (section_of(info) or named_section_of(info))
    ]
    parts.append(_keys(Config, plain))
    for name, info in Config.model_fields.items():
        if section := section_of(info):
            about = " ".join((section.__doc__ or "").split())
            parts.append(f"[{name}]  # {about}\n" + _keys(section, list(section.model_fields)))
        elif section := named_section_of(info):
            about = " ".join((section.__doc__ or "").split())
            lines = f"[{name}.{NAME}]  # {about}\n" + _keys(section, list(section.model_fields))
            parts.append("".join(f"# {line}\n" for line in lines.splitlines()))
    return "\n".join(parts)


def _keys(model: type[BaseModel], names: list[str]) -> str:
    lines = (
        (f"{n} = {_toml(model.model_fields[n].default)}", model.model_fields[n].description) for n in names
    )
    return "".join(f"{line:<26} # {why}\n" for line, why in lines)


def _toml(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path):
        value = "./" + value.as_posix()
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    print(example(), end="")
