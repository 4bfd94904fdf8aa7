"""The documents say what the code does: the parts drawn from it are fresh, and what they name is there."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import typer.main
from PIL import Image

from bot.__main__ import app

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.ko.md")
DOCUMENTS = (*READMES, "CHANGELOG.md", "docs/architecture.md")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", READMES)
def test_the_parts_drawn_from_the_code_are_fresh(generate: ModuleType, name: str) -> None:
    assert text(name) == generate.filled(text(name), generate.README[name]), "run: python -m docs.generate"


def test_the_tree_names_every_file(generate: ModuleType) -> None:
    tree = text("README.md").partition("<!-- tree -->")[2].partition("<!-- /tree -->")[0]
    for room in generate.ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            assert file.name == "__init__.py" or f"{file.name} " in tree, file
    silent = [line for line in tree.splitlines() if line.strip().endswith(".py")]
    assert silent == [], "a module without a docstring"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text(name))
    here = (ROOT / name).parent
    missing = [t for t in targets if not t.startswith("http") and not (here / t).exists()]
    assert missing == []


@pytest.mark.parametrize("name", READMES)
def test_commands_in_the_readme_exist(name: str) -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    said = set(re.findall(r"defect-studio ([a-z]+)", text(name)))
    table = text(name).partition("`defect-studio …`")[2].partition("\n\n")[0]
    first = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    said |= set(re.findall(r"`([a-z]+)", first))
    assert said <= set(known)
    assert set(known) <= said, "a command the README does not name"


@pytest.mark.parametrize("name", READMES)
def test_make_targets_in_the_readme_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.M))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text(name), re.M)) <= targets


def test_both_readmes_have_the_same_parts() -> None:
    counts = [
        [len(re.findall(pattern, text(name), re.M)) for pattern in (r"^## ", r"^```", r"^\| `")]
        for name in READMES
    ]
    assert counts[0][0] == counts[1][0]
    assert counts[0][2] == counts[1][2]


@pytest.mark.parametrize("name", READMES)
def test_a_real_result_is_shown(name: str) -> None:
    example, training = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text(name))
    for shown, width in ((example, 1000), (training, 700)):
        with Image.open(ROOT / shown) as picture:
            assert picture.width >= width


def test_the_mask_words_in_the_readme_are_understood() -> None:
    from bot.masks.spoken import parse

    for name in READMES:
        for spec in re.findall(r"`mask:([a-z#][^@`]*)`", text(name)):
            assert parse(spec)


def test_the_changelog_has_this_version() -> None:
    version = tomllib.loads(text("pyproject.toml"))["project"]["version"]
    assert re.search(rf"^## {re.escape(version)}\b", text("CHANGELOG.md"), re.M)


def test_the_licence_is_the_whole_apache_licence() -> None:
    licence = text("LICENSE")
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert len(licence.splitlines()) > 175


@pytest.mark.parametrize("name", DOCUMENTS)
def test_lines_are_not_endless(name: str) -> None:
    prose = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", "", text(name), flags=re.S)
    long = [line for line in prose.splitlines() if len(line) > 125 and not line.startswith("|")]
    assert long == []
