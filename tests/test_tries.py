"""Best of several tries: what counts as a change, who is kept, what it costs, and that a copy is passed over."""

from __future__ import annotations

import dataclasses
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_world as world
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from bot import grammar, recipes
from engines import compose, devices, picking
from engines.diffusion import pictures
from engines.diffusion.engine import Diffusion
from engines.engine import Work
from engines.events import Artifact, Finished, Progress
from engines.models import references
from engines.models.loading import reader
from engines.models.memory import Models
from engines.picking import Candidate
from engines.request import Item
from engines.requests import Inpaint
from engines.serving.pool import Pool
from engines.training.patches import patches
from engines.words import Refusal, Words

# ------------------------------------------------------------------ what counts as a change


def plate(seed: int, side: int = 48) -> picking.Bytes:
    """A grey plate with grain, far from black and white."""
    return np.random.default_rng(seed).integers(110, 140, (side, side, 3)).astype(np.uint8)


def hole(side: int = 48, box: tuple[int, int, int, int] = (10, 12, 40, 36)) -> compose.Bits:
    white = np.zeros((side, side), np.bool_)
    white[box[1] : box[3], box[0] : box[2]] = True
    return white


def scratched(before: picking.Bytes, fill: tuple[int, int, int] = (40, 40, 40)) -> picking.Bytes:
    made = Image.fromarray(before)
    ImageDraw.Draw(made).line((15, 20, 33, 28), fill=fill, width=2)
    return np.asarray(made)


@given(st.integers(0, 99), st.tuples(*[st.integers(-90, 90)] * 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_tint_alone_is_no_change_however_strong(
    seed: int, colour: tuple[int, int, int], round: bool
) -> None:
    before, mask = plate(seed), hole()
    if round:
        y, x = np.mgrid[:48, :48]
        mask = np.hypot(x - 24, y - 24) < 15
    tinted = np.where(mask[..., None], before.astype(int) + colour, before).astype(np.uint8)
    assert picking.change(before, tinted, mask) < 0.01
    assert picking.change(before, before, mask) == 0.0
    assert picking.change(before, scratched(before), mask) > picking.VISIBLE


def test_a_mark_of_another_colour_and_the_same_brightness_is_a_change() -> None:
    before, mask = np.full((48, 48, 3), 120, np.uint8), hole()
    green = scratched(before, (60, 160, 70))
    assert abs(float(np.asarray(Image.fromarray(green).convert("L"))[24, 24]) - 120) < 5
    assert picking.change(before, green, mask) > picking.VISIBLE


def test_what_happens_outside_the_mask_is_nothing() -> None:
    before, mask = plate(1), hole()
    other = np.where(mask[..., None], before, 255 - before)
    assert picking.change(before, other, mask) == 0.0


candidates = st.builds(Candidate, st.floats(0, 50), st.booleans())


@given(st.lists(candidates, min_size=1, max_size=8))
def test_nobody_better_is_passed_over(found: list[Candidate]) -> None:
    kept = found[picking.best(found)]
    if any(one.visible for one in found):
        assert kept.visible, "next to nothing loses to anything"
    peers = [one for one in found if one.visible == kept.visible]
    if any(not one.copy for one in peers):
        assert not kept.copy
        peers = [one for one in peers if not one.copy]
    assert kept.change == max(one.change for one in peers)


def test_a_copy_is_known_by_its_structure() -> None:
    before, mask = plate(1), hole()
    own = picking.patch(scratched(before), mask)
    darker = (scratched(before) * 0.8).astype(np.uint8)
    assert picking.judged(before, darker, mask, [own]).copy
    assert not picking.judged(before, plate(2), mask, [own]).copy
    assert not picking.judged(before, scratched(before), mask, []).copy


# ------------------------------------------------------------------ the form


def test_all_candidates_together_are_not_too_many() -> None:
    said = {"prompt": "x", "image": "p", "mask": "m"}
    with pytest.raises(Refusal) as no:
        Inpaint.fill({**said, "count": 8, "tries": 4})
    reason = no.value.words
    assert "16" in reason.en
    assert "16" in reason.ko
    assert "`tries` may be 1 to 2" in reason.en
    assert "`count` may be 1 to 4" in reason.en
    assert "`tries`를 1~2" in reason.ko
    assert "`count`를 1~4" in reason.ko
    assert Inpaint.fill({**said, "count": 8, "tries": 2})[0].each == 2
    form, notes = Inpaint.fill({**said, "tries": 9})
    assert form.tries == 8
    assert "1 to 8" in notes[0].en


def test_it_can_be_said_in_korean() -> None:
    spoken = grammar.read("/inpaint 프롬프트:흠집 시도횟수:4")
    said = {Inpaint.field_named(name): value for name, value in spoken.values.items()}
    assert said["tries"] == "4"


def test_each_try_counts_as_a_picture() -> None:
    one = Inpaint(prompt="x", image="p", mask="m", steps=10, seed=2**32 - 2)
    many = dataclasses.replace(one, count=2, tries=3)
    assert many.cost == 6 * one.cost == dataclasses.replace(one, count=6).cost
    assert many.seeds == (2**32 - 2, 2**32 - 1, 0, 1, 2, 3)
    zipped = dataclasses.replace(many, items=(Item("a", "p", "m"), Item("b", "q", "n")))
    assert zipped.total_cost == 12 * one.cost
    assert all(part.request.cost == many.cost for part in zipped.parts)


# ------------------------------------------------------------------ through the engine


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, one_thread_throughout: None
) -> tuple[Path, dict[str, Path]]:
    """A models folder with a LoRA of the tiny base, and a photo and mask."""
    root = tmp_path_factory.mktemp("tries")
    models = world.house(root / "models", world.bases(root / "bases"))
    told, files = world.data(root / "data", concepts=2)
    request = world.train(concepts=tuple(told), steps=1)
    world.made(world.engine(models), world.work(root / "work", request, files))
    mask = Image.new("L", (96, 96))
    mask.paste(255, (30, 30, 60, 60))
    mask.save(root / "mask.png")
    return models, {"p": files["c0-good0"], "m": root / "mask.png", **files}


@dataclasses.dataclass
class Bench:
    """An engine that has nothing in memory yet."""

    models: Path
    files: dict[str, Path]
    folder: Path
    jobs: int = 0

    def __post_init__(self) -> None:
        self.engine = Diffusion(Models(reader(self.models, "cpu", "float32")))

    def work(self, **more: Any) -> Work:
        said: dict[str, Any] = {"image": "p", "mask": "m", "prompt": "a scratched thing", "steps": 2}
        self.jobs += 1
        folder = self.folder / str(self.jobs)
        folder.mkdir()
        return Work(self.jobs, "anna", Inpaint(**({"model": "mine"} | said | more)), folder, self.files)

    def draw(self, **more: Any) -> tuple[list[Artifact], list[Words], int]:
        """The artifacts, what is said, and the rows of a step."""
        run = self.engine.begin(self.work(**more))
        while not run.finished:
            self.engine.advance([run])
        made = self.engine.finish(run)
        self.engine.suspend(run)
        return list(made() if callable(made) else made), run.notes, run.rows

    def alone(self, seed: int) -> tuple[Candidate, picking.Patch, picking.Bytes]:
        """One candidate drawn by itself: judged, its patch, and the picture it becomes."""
        run = self.engine.begin(self.work(seed=seed))
        while not run.finished:
            self.engine.advance([run])
        assert run.state is not None
        assert run.frame.patch is not None
        made = pictures.decoded(run.lease.parts, run.state.latents)
        assert made is not None
        whole = compose.put_back(run.frame.patch, Image.fromarray(made))
        mask, before = run.frame.patch.mask, np.asarray(run.frame.patch.picture)
        self.engine.suspend(run)
        return picking.judged(before, made, mask), picking.patch(made, mask), np.asarray(whole)


@pytest.fixture
def bench(house: tuple[Path, dict[str, Path]], tmp_path: Path) -> Bench:
    return Bench(*house, tmp_path)


def near(one: Artifact, other: Any) -> bool:
    with Image.open(one.path) as picture:
        return bool(np.abs(np.asarray(picture).astype(int) - other).max() <= 1)


def test_the_kept_is_the_best_of_those_drawn_singly_and_its_recipe_makes_it_again(bench: Bench) -> None:
    made, notes, rows = bench.draw(seed=40, count=2, tries=3)
    assert rows == 2 * 2 * 3, "all candidates are rows of one step, with guidance twice"
    assert [len(made), made[0].recipe["request"]["count"]] == [2, 1]
    for artifact, seeds in zip(made, ((40, 41, 42), (43, 44, 45)), strict=True):
        singly = {seed: bench.alone(seed) for seed in seeds}
        kept = artifact.recipe["seed"]
        assert kept in seeds
        most = max(one.change for one, _, _ in singly.values())
        assert singly[kept][0].change == pytest.approx(most, abs=0.05)
        assert near(artifact, singly[kept][2]), "it is that seed's picture"
        again = recipes.one_of(artifact.recipe)
        assert isinstance(again, Inpaint)
        assert (again.seed, again.tries, again.count) == (kept, 1, 1)
        assert again == Inpaint.from_json(artifact.recipe["request"])
        ((same,), _, _) = bench.draw(seed=again.seed)
        assert near(same, singly[kept][2])
    told = f"seed {made[0].recipe['seed']}, {made[1].recipe['seed']}"
    assert any(told in note.en and "40 to 45" in note.en for note in notes)


def test_one_try_says_nothing_and_is_as_ever(bench: Bench) -> None:
    (one,), notes, rows = bench.draw(seed=40)
    assert (rows, notes) == (2, [])
    assert one.recipe["request"]["tries"] == 1


def test_a_copy_is_passed_over_while_there_is_another(bench: Bench) -> None:
    file = bench.models / "mine" / references.FILE
    kept = file.read_bytes()
    singly = [bench.alone(seed) for seed in (40, 41, 42)]
    order = sorted(range(3), key=lambda i: -singly[i][0].change)
    own = [patch for _, patch, _ in singly]
    assert all(picking.alike(own[a], own[b]) < picking.ALIKE for a in range(3) for b in range(a)), "no test"
    try:
        for copies, expected in ((order[:1], order[1]), (order[:2], order[2]), (order, order[0])):
            references.write(file.parent, [own[i] for i in copies])
            (made,), notes, _ = Bench(bench.models, bench.files, _under(bench, copies)).draw(seed=40, tries=3)
            assert made.recipe["seed"] == 40 + expected
            assert any("copy" in note.en and "복사본" in note.ko for note in notes) == (len(copies) == 3)
    finally:
        file.write_bytes(kept)


def _under(bench: Bench, copies: list[int]) -> Path:
    folder = bench.folder / f"with-{len(copies)}"
    folder.mkdir()
    return folder


def test_next_to_nothing_is_told_of(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picking, "VISIBLE", 1000.0)
    _, notes, _ = bench.draw(seed=40, tries=2)
    assert any("none of the 2 tries shows a visible change" in note.en for note in notes)


async def test_what_is_said_reaches_the_answer_and_progress_counts_steps(bench: Bench) -> None:
    pool = Pool({Inpaint: lambda device: bench.engine}, devices.probe(("cpu",)))
    await pool.start()
    try:
        async with aclosing(pool.run(bench.work(seed=40, tries=3))) as stream:
            events = [event async for event in stream]
    finally:
        await pool.stop(5)
    end = events[-1]
    assert isinstance(end, Finished)
    assert len(end.artifacts) == 1
    assert any(f"seed {end.artifacts[0].recipe['seed']}" in note.en for note in end.notes)
    totals = {event.total for event in events if isinstance(event, Progress)}
    assert len(totals) == 1
    assert totals.pop() <= 4


# ------------------------------------------------------------------ what a trained model remembers


def test_a_lora_remembers_its_references_and_the_base_has_none(bench: Bench) -> None:
    plan = reader(bench.models, "cpu", "float32")
    learnt = plan("mine", "inpaint").references
    assert len(learnt) == 6, "three of each concept"
    with Image.open(bench.files["c0-shot0"]) as photo, Image.open(bench.files["c0-shot0.mask"]) as mask:
        first = picking.patch(np.asarray(photo.convert("RGB")), compose.bits(mask))
    assert np.array_equal(learnt[0], first)
    assert (bench.models / "mine" / references.FILE).stat().st_size < 15_000
    assert plan(world.INPAINT, "inpaint").references == ()


def test_a_full_training_has_its_bases_references_too(bench: Bench, tmp_path: Path) -> None:
    told, files = world.data(tmp_path / "data", concepts=1)
    models = world.house(tmp_path / "models", bench.models)
    own = world.engine(models)
    first = world.train(concepts=tuple(told), steps=1, method="full", save_as="first")
    world.made(own, world.work(tmp_path / "1", first, files))
    again = dataclasses.replace(first, model="first", save_as="second", method="full")
    world.made(own, world.work(tmp_path / "2", again, files, number=2))
    lora = dataclasses.replace(first, model="first", save_as="third", method="lora")
    world.made(own, world.work(tmp_path / "3", lora, files, number=3))
    plan = reader(models, "cpu", "float32")
    assert [len(plan(name, "inpaint").references) for name in ("first", "second", "third")] == [3, 6, 6]


def test_a_file_that_is_none_is_no_references(tmp_path: Path) -> None:
    references.write(tmp_path, [])
    assert not (tmp_path / references.FILE).exists()
    assert references.read(tmp_path / "nowhere") == ()
    (tmp_path / references.FILE).write_bytes(b"x" * 40)
    assert references.read(tmp_path) == ()
    many = [np.full((24, 24, 3), i % 251, np.uint8) for i in range(references.MOST + 7)]
    references.write(tmp_path, many)
    kept = references.read(tmp_path)
    assert len(kept) == references.MOST
    assert np.array_equal(kept[-1], many[-1]), "spread over all"


def test_a_reference_that_is_gone_or_has_no_mask_is_left_out(bench: Bench, tmp_path: Path) -> None:
    from engines.training.concepts import concepts

    told, files = world.data(tmp_path / "data", concepts=1)
    del told[0]["images"][0]["mask"]
    files[told[0]["images"][1]["image"]].write_bytes(b"no picture")
    assert len(patches(concepts(world.train(concepts=tuple(told))), files)) == 1
