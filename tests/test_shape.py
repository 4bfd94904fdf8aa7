"""The house keeps its shape: who may import whom, what loads quickly, how long a file and a function may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("bot", "engines", "storage")
PROGRAMS = (*ROOMS, "benchmarks")  # what is held to the limits of length
FORBIDDEN = {"bot": (), "engines": ("bot", "storage"), "storage": ("bot", "engines")}
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "open_clip", "iopaint", "peft", "accelerate")
CHATS = ("discord", "slack_bolt", "slack_sdk")
LIGHT = (
    "words",
    "forms",
    "requests",
    "events",
    "engine",
    "studio",
    "serving/pool",
    "serving/serves",
    "serving/ray_cluster",
    "models/catalogue",
    "compose",
    "devices",
)

FILE_LINES = 300
TEST_LINES = 450
FUNCTION_LINES = 40  # its docstring not counted
LONGER = {  # the few that read better whole
    "bot/platforms/slack/ears.py": 330,
    "engines/serving/lane.py": 310,
}


@cache
def modules(rooms: tuple[str, ...] = ROOMS) -> dict[str, ast.Module]:
    """Path from the root → its syntax tree."""
    files = sorted(file for room in rooms for file in (ROOT / room).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def breaches(allowed: object) -> list[str]:
    assert callable(allowed)
    return [
        f"{file} imports {name}"
        for file, tree in modules().items()
        for name in imports(tree)
        if not allowed(file, name)
    ]


def root_of(name: str) -> str:
    return name.partition(".")[0]


def test_the_rooms_know_only_whom_they_may() -> None:
    assert breaches(lambda file, name: root_of(name) not in FORBIDDEN[root_of(file.replace("/", "."))]) == []


def test_heavy_libraries_are_imported_in_engines_only() -> None:
    assert breaches(lambda file, name: root_of(name) not in HEAVY or file.startswith("engines/")) == []


def test_chat_libraries_are_imported_in_platforms_only() -> None:
    assert breaches(lambda file, name: root_of(name) not in CHATS or file.startswith("bot/platforms/")) == []


def test_ray_is_imported_in_its_own_files_only() -> None:
    assert (
        breaches(lambda file, name: root_of(name) != "ray" or file.startswith("engines/serving/ray_")) == []
    )


def test_the_database_is_imported_in_storage_only() -> None:
    assert breaches(lambda file, name: root_of(name) != "aiosqlite" or file.startswith("storage/")) == []


def test_nothing_of_a_test_gets_into_the_house() -> None:
    assert (
        breaches(lambda file, name: root_of(name) not in ("tests", "pytest", "simcord", "hypothesis")) == []
    )


def loaded(code: str) -> set[str]:
    """Top-level names of the modules a fresh interpreter has after `code`."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return {root_of(name) for name in told.stdout.split()}


def test_the_bot_answers_before_the_models_do() -> None:
    both = loaded("import bot, bot.app, bot.__main__, bot.terminal, bot.demo")
    assert "bot" in both
    assert both & {*HEAVY, *CHATS, "ray"} == set()


def test_the_platforms_load_no_models() -> None:
    assert loaded("import bot.platforms.discord, bot.platforms.slack") & set(HEAVY) == set()


@pytest.mark.parametrize("name", LIGHT)
def test_what_the_bot_shares_with_engines_is_light(name: str) -> None:
    tree = modules()[f"engines/{name}.py"]
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {root_of(name) for node in top for name in imports(node)} & set(HEAVY) == set()


def test_the_picture_worker_is_small() -> None:
    assert (
        loaded("import bot.pictures.worker") & {*HEAVY, *CHATS, "pydantic", "aiohttp", "cv2", "scipy"}
        == set()
    )


def test_files_are_short() -> None:
    lengths = {file: (ROOT / file).read_text(encoding="utf-8").count("\n") for file in modules(PROGRAMS)}
    assert {f: n for f, n in lengths.items() if n > LONGER.get(f, FILE_LINES)} == {}
    assert set(LONGER) <= set(lengths)


def test_files_of_tests_tell_one_story_each() -> None:
    lengths = {
        file.name: file.read_text(encoding="utf-8").count("\n") for file in (ROOT / "tests").rglob("*.py")
    }
    assert {file: lines for file, lines in lengths.items() if lines > TEST_LINES} == {}


def test_functions_are_short() -> None:
    found = []
    for file, tree in modules(PROGRAMS).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_lines(node) > FUNCTION_LINES:
                found.append(f"{file}:{node.lineno} {node.name}: {body_lines(node)} lines")
    assert found == []


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_every_module_says_what_it_is_for() -> None:
    silent = [file for file, tree in modules(PROGRAMS).items() if not ast.get_docstring(tree) and tree.body]
    assert silent == []


def test_no_name_that_says_nothing() -> None:
    empty = ("Manager", "Service", "Helper", "Util", "Utils", "Base", "Impl")
    names = [
        f"{file}: {node.name}"
        for file, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(empty)
    ]
    assert names == []
    assert [
        file for file in modules() if Path(file).stem in ("utils", "util", "helpers", "misc", "common")
    ] == []
