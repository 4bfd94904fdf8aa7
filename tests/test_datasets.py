"""From the files of a data set to concepts: layouts, names, prompts, and what a stranger's list may not do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.datasets.files import Gathered, Source
from bot.datasets.layouts import distinct, prompts_of, reworded, understood
from bot.datasets.words import class_prompt, instance_prompt
from engines.words import Refusal


def files(*names: str) -> list[Source]:
    return [Source(name, Path("/nowhere") / name) for name in names]


NUT = (
    "train/good/000.png",
    "train/good/001.png",
    "test/good/000.png",
    "test/scratch/000.png",
    "test/scratch/001.png",
    "test/bent/000.png",
    "ground_truth/scratch/000_mask.png",
    "ground_truth/scratch/001_mask.png",
    "ground_truth/bent/000_mask.png",
    "license.txt",
    ".DS_Store",
)


def masks_of(concept: Gathered) -> list[str | None]:
    return [photo.mask.name if photo.mask else None for photo in concept.photos]


@pytest.mark.parametrize("around", ["", "metal_nut/", "mvtec/", "data/mvtec/metal_nut/"])
def test_mvtec_wherever_it_lies_in_the_archive(around: str) -> None:
    found = understood(files(*(around + name for name in NUT)), "metal_nut")
    assert found.kind == "mvtec"
    bent, scratch = found.concepts
    assert (bent.name, scratch.name) == ("bent", "scratch")
    assert [len(bent.photos), len(scratch.photos)] == [1, 2]
    assert masks_of(scratch) == [f"{around}ground_truth/scratch/00{i}_mask.png" for i in (0, 1)]
    assert [normal.name for normal in scratch.normals] == [f"{around}train/good/00{i}.png" for i in (0, 1)]
    if "nut" in around or not around:
        assert scratch.instance_prompt == "a photo of a metal nut with a scratch"
        assert bent.instance_prompt == "a photo of a bent metal nut"
        assert scratch.class_prompt == "a photo of a metal nut"


def test_several_categories_are_several_products() -> None:
    names = [f"{category}/{name}" for category in ("nut", "pill") for name in NUT]
    found = understood(files(*names), "all")
    assert [concept.name for concept in found.concepts] == [
        "nut bent",
        "nut scratch",
        "pill bent",
        "pill scratch",
    ]
    assert all(
        normal.name.startswith(concept.name.split()[0])
        for concept in found.concepts
        for normal in concept.normals
    )
    chosen = understood(files(*names), "all", only="pill*; nut scratch").concepts
    assert [concept.name for concept in chosen] == ["nut scratch", "pill bent", "pill scratch"]
    assert [c.name for c in understood(files(*names), "all", only="scratch").concepts] == [
        "nut scratch",
        "pill scratch",
    ]
    with pytest.raises(Refusal, match=r"no concept “dent”.*nut bent, nut scratch"):
        understood(files(*names), "all", only="dent")


def test_a_photo_whose_mask_is_missing_counts_whole() -> None:
    kept = [name for name in NUT if name != "ground_truth/scratch/001_mask.png"]
    scratch = understood(files(*kept), "nut").concepts[1]
    assert masks_of(scratch) == ["ground_truth/scratch/000_mask.png", None]


def test_more_concepts_than_one_training_takes() -> None:
    names = [f"nut/test/defect{i:02}/0.png" for i in range(11)]
    with pytest.raises(Refusal, match=r"11 concepts.*at most 10.*only:.*defect00"):
        understood(files(*names), "nut")
    assert len(understood(files(*names), "nut", only="defect0*").concepts) == 10


@pytest.mark.parametrize("names", [(), ("readme.txt",), ("nut/train/good/0.txt",), (".hidden/a.png",)])
def test_nothing_to_learn_from(names: tuple[str, ...]) -> None:
    with pytest.raises(Refusal, match=r"concepts_list.json"):
        understood(files(*names), "x")


# concepts_list.json


def listed(folder: Path, entries: Any, *names: str, at: str = "concepts_list.json") -> list[Source]:
    path = folder / "list.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries), "utf-8")
    return [Source(at, path), *files(*names)]


ZIPPER = {
    "instance_prompt": "a photo of a broken teeth zipper",
    "class_prompt": "a photo of a zipper",
    "instance_data_dir": "zipper/broken",
    "class_data_dir": "zipper/class",
}


def test_the_list_exactly_as_people_have_it(tmp_path: Path) -> None:
    found = understood(listed(tmp_path, [ZIPPER], "zipper/broken/1.png", "zipper/broken/2.jpg"), "x")
    (concept,) = found.concepts
    assert (found.kind, concept.name, concept.weight) == ("json", "broken", 1.0)
    assert concept.instance_prompt == "a photo of a broken teeth zipper"
    assert concept.class_prompt == "a photo of a zipper"
    assert len(concept.photos) == 2
    assert concept.class_images == ()
    assert found.notes == ()


def test_the_list_with_masks_normals_weight_and_a_folder_around(tmp_path: Path) -> None:
    entry = {
        **ZIPPER,
        "instance_mask_dir": "./zipper/masks",
        "normal_data_dir": "zipper\\good",
        "weight": 2.5,
        "name": "teeth",
        "learning": 1,
    }
    names = [
        f"set/zipper/{name}" for name in ("broken/1.png", "masks/1_mask.png", "good/7.png", "class/8.png")
    ]
    found = understood(listed(tmp_path, [entry], *names, at="set/concepts_list.json"), "x")
    (concept,) = found.concepts
    assert (concept.name, concept.weight) == ("teeth", 2.5)
    assert masks_of(concept) == ["set/zipper/masks/1_mask.png"]
    assert [file.name for file in concept.normals] == ["set/zipper/good/7.png"]
    assert [file.name for file in concept.class_images] == ["set/zipper/class/8.png"]
    assert [note.en for note in found.notes] == ["`concepts_list.json` says `learning`, which was not used."]


def test_a_path_of_somebodys_own_disk_means_the_folder_that_ends_alike(tmp_path: Path) -> None:
    entry = {**ZIPPER, "instance_data_dir": "C:\\Users\\kim\\zipper\\broken"}
    found = understood(listed(tmp_path, [entry], "zipper/broken/1.png"), "x")
    assert [photo.image.name for photo in found.concepts[0].photos] == ["zipper/broken/1.png"]
    assert "`zipper/broken`" in found.notes[0].en


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("[{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "must be a list like"),
        ("[1]", "must be a list like"),
        ([{**ZIPPER, "instance_prompt": " "}], "Concept 1 .* has no `instance_prompt`"),
        ([ZIPPER, {"instance_prompt": "x"}], "Concept 2 .* has no `instance_data_dir`"),
        ([{**ZIPPER, "instance_data_dir": "../../etc"}], "no pictures there"),
        ([{**ZIPPER, "instance_data_dir": "/etc"}], "no pictures there"),
        ([{**ZIPPER, "instance_mask_dir": "nothing"}], "mask folder “nothing”"),
        ([{**ZIPPER, "weight": 0}], "more than 0"),
        ([{**ZIPPER, "weight": "nan"}], "more than 0"),
    ],
)
def test_a_list_that_will_not_do_is_told_why(tmp_path: Path, entries: Any, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        understood(listed(tmp_path, entries, "zipper/broken/1.png"), "x")


# Photos without any order


def test_photos_and_masks_by_name() -> None:
    (concept,) = understood(files("a.png", "a_mask.png", "b.jpg", "mask_b.png", "c.png"), "scratch").concepts
    assert concept.name == "scratch"
    assert masks_of(concept) == ["a_mask.png", "mask_b.png", None]


def test_a_folder_for_each_concept_with_masks_and_good_ones() -> None:
    names = (
        "nut/scratch/1.png",
        "nut/masks/scratch/1.png",
        "nut/dent/1.png",
        "nut/masks/dent/1.png",
        "nut/good/9.png",
    )
    dent, scratch = understood(files(*names), "x").concepts
    assert (dent.name, scratch.name) == ("dent", "scratch")
    assert masks_of(scratch) == ["nut/masks/scratch/1.png"]
    assert masks_of(dent) == ["nut/masks/dent/1.png"]
    assert [file.name for file in dent.normals] == ["nut/good/9.png"]


def test_prompts_of_ones_own_and_back() -> None:
    concepts = understood(files(*NUT), "nut").concepts
    said = "bent = a crooked nut | a nut\nscratch = a scored nut"
    bent, scratch = reworded(concepts, said)
    assert (bent.instance_prompt, bent.class_prompt) == ("a crooked nut", "a nut")
    assert (scratch.instance_prompt, scratch.class_prompt) == ("a scored nut", "a photo of a nut")
    again = prompts_of((c.name, c.instance_prompt, c.class_prompt) for c in (bent, scratch))
    assert reworded(concepts, again) == (bent, scratch)
    with pytest.raises(Refusal, match=r"no concept “dent”"):
        reworded(concepts, "dent = a dented nut")
    alone = reworded(concepts[:1], "a twisted nut | a nut")
    assert (alone[0].instance_prompt, alone[0].class_prompt) == ("a twisted nut", "a nut")


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_prompt_is_made_of_any_names(product: str, defect: str) -> None:
    made = instance_prompt(product, defect)
    assert made.startswith("a photo")
    assert class_prompt(product).startswith("a photo")


def test_no_two_concepts_share_a_prompt_in_mvtec() -> None:
    of_bottle = {instance_prompt("bottle", d) for d in ("broken_large", "broken_small", "contamination")}
    assert len(of_bottle) == 3
    assert instance_prompt("zipper", "broken_teeth") == "a photo of a zipper with broken teeth"


@given(st.lists(st.sampled_from(["a", "b", "a 2"]), min_size=1, max_size=5))
def test_names_become_distinct(names: list[str]) -> None:
    made = distinct(tuple(Gathered(name, "x", "y", ()) for name in names))
    assert len({concept.name for concept in made}) == len(names)
