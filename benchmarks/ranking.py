"""A warm picture ranked against all phrases, ours and clip-interrogator's, at the width of ViT-L-14.

The phrases are the real lists; their vectors are random, because the time does not depend on the numbers. The same
vectors go through clip-interrogator's own `LabelTable` in the same process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from clip_interrogator import LabelTable
from rich.console import Console
from rich.table import Table as Rows

from benchmarks.machine import described, keep
from engines.interrogation import phrases
from engines.interrogation.phrase_tables import Table, ranked, scores

WIDTH = 768  # of ViT-L-14's vectors
BEST = 25


def unit(rows: int, chance: torch.Generator) -> torch.Tensor:
    """Random directions, (rows, `WIDTH`), rounded to half precision as they are on disk."""
    drawn = torch.randn(rows, WIDTH, generator=chance)
    return (drawn / drawn.norm(dim=1, keepdim=True)).half().float()


def tables(chance: torch.Generator) -> list[Table]:
    """All lists that `phrases:all` asks for, complete."""
    found = []
    for one in map(phrases.phrase_list, (*phrases.OWN, *phrases.PACKAGED)):
        table = Table(one, unit(len(one.texts), chance), Path("unused"), "random")
        table.have = len(one.texts)
        found.append(table)
    return found


def ours(seen: torch.Tensor, known: list[Table]) -> list[list[int]]:
    """The best of each list for one picture."""
    fit = scores(seen, known)[0]
    sizes = [len(table.phrases.texts) for table in known]
    return [ranked(part, BEST) for part in fit.split(sizes)]


def theirs(seen: torch.Tensor, known: list[Any]) -> list[list[str]]:
    """The same by clip-interrogator."""
    return [table.rank(seen, BEST) for table in known]


def library(known: list[Table]) -> list[Any]:
    """clip-interrogator's tables of the same phrases and vectors."""
    made = []
    for table in known:
        one = LabelTable.__new__(LabelTable)  # its constructor asks a CLIP for the vectors
        one.config = SimpleNamespace(device="cpu", quiet=True)
        one.device, one.chunk_size, one.tokenize = "cpu", 2048, None
        one.labels = list(table.phrases.texts)
        one.embeds = list(table.vectors.numpy())
        made.append(one)
    return made


def timed(what: Callable[[], Any], times: int) -> list[float]:
    """Wall time in ms of each of `times` calls, after one that does not count."""
    what()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        what()
        took.append((time.perf_counter() - began) * 1000)
    return took


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0)
    said = parser.parse_args(argv)
    if said.threads:
        torch.set_num_threads(said.threads)
    chance = torch.Generator().manual_seed(0)
    figures: dict[str, Any] = {"machine": described("cpu")}
    known, seen = tables(chance), unit(1, chance)
    peer = library(known)
    same = [
        [table.phrases.texts[i] for i in best] == names
        for table, best, names in zip(known, ours(seen, known), theirs(seen, peer), strict=True)
    ]
    mine = timed(lambda: ours(seen, known), said.times)
    other = timed(lambda: theirs(seen, peer), max(3, said.times // 5))
    figures |= {
        "phrases": sum(len(table.phrases.texts) for table in known),
        "ranking ms p50": round(float(np.median(mine)), 1),
        "ranking ms worst": round(max(mine), 1),
        "clip-interrogator ms p50": round(float(np.median(other)), 1),
        "times faster": round(float(np.median(other) / np.median(mine)), 1),
        "lists ranked the same": f"{sum(same)} of {len(same)}",
    }
    show(figures)
    Console().print(f"kept in {keep('ranking', figures).relative_to(Path.cwd())}")


def show(figures: dict[str, Any]) -> None:
    """The figures as a table."""
    rows = Rows(title="A warm picture against all phrases")
    rows.add_column("")
    rows.add_column("", justify="right")
    for name, value in figures.items():
        if name != "machine":
            rows.add_row(name, str(value))
    Console().print(rows)
    Console().print(", ".join(f"{k}: {v}" for k, v in figures["machine"].items()))


if __name__ == "__main__":
    main()
