"""Interrogation: shared steps, the library's own answers, captions, and a picture's true name."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_conformance import Conformance, drive, finished
from PIL import Image

from engines import embedded
from engines.engine import Work
from engines.events import Artifact
from engines.interrogation import phrases
from engines.interrogation.clip import Clip, opened
from engines.interrogation.engine import Interrogation, Reading
from engines.interrogation.form import MODES, Interrogate
from engines.interrogation.models import FIRST, SMALL, finders
from engines.interrogation.modes import PACKAGE, Answer, Caption, Look, Need, Score, Sort, Texts, asking
from engines.interrogation.phrase_tables import ranked
from engines.interrogation.phrases import phrase_list
from engines.models import moving
from engines.models.host import HostCache
from engines.models.memory import Models
from engines.words import Refusal

pytestmark = pytest.mark.usefixtures("one_thread_throughout")

PICTURES = (("metal nut", "scratch"), ("pill", "crack"), ("carpet", None), ("leather", None))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for seed, (product, defect) in enumerate(PICTURES):
        paths.append(folder / f"{seed}.png")
        embedded.sample(5, product, defect)[0].save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def engine_in(folder: Path, budget: int | None = None) -> Interrogation:
    models = Models(lambda name, kind: pytest.fail("read by name"), budget=budget)
    return Interrogation(models, finders(folder, "cpu", {}), folder / ".phrases")


@pytest.fixture(scope="module")
def shared(models_folder: Path, photos: list[Path]) -> Interrogation:
    engine = engine_in(models_folder)
    work = Work(0, "me", Interrogate(image="a"), models_folder, {"a": photos[0]})
    drive(engine, [engine.begin(work)])  # the phrases are learnt
    return engine


def asked(folder: Path, photo: Path, number: int = 1, **more: Any) -> Work:
    return Work(number, f"p{number}", Interrogate(image="a", **more), folder, {"a": photo})


def told(engine: Interrogation, work: Work) -> dict[str, Any]:
    run = engine.begin(work)
    while not run.finished:
        engine.advance([run])
    (made,) = finished(engine, run)
    engine.suspend(run)
    assert json.loads(made.path.read_text()) == made.recipe
    return made.recipe


class TestInterrogation(Conformance):
    exact = False

    @pytest.fixture
    def engine(self, shared: Interrogation, photos: list[Path]) -> Interrogation:
        self.photos = photos
        return shared

    def work(self, folder: Path, number: int, seed: int) -> Work:
        return asked(folder, self.photos[seed % len(self.photos)], number)

    def spoil(self, engine: Any, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
        monkeypatch.setattr(Clip, "of_texts", _broken)
        monkeypatch.setattr("engines.interrogation.phrase_tables.scores", _broken)

    def footprint(self, engine: Any) -> int:
        return sum(leases for _, _, leases in engine._models.held())

    def similar(self, alone: Sequence[Artifact], batched: Sequence[Artifact]) -> bool:
        one, other = alone[0].recipe, batched[0].recipe
        return bool(one["text"] == other["text"] and one["caption"] == other["caption"])


def _broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("spoilt")


def test_the_embedded_clip_tells_what_a_picture_shows(
    shared: Interrogation, photos: list[Path], tmp_path: Path
) -> None:
    captions = [told(shared, asked(tmp_path, photo))["caption"] for photo in photos]
    assert captions == [
        "a photo of a metal nut with a scratch",
        "a photo of a pill with a crack",
        "a photo of a carpet",
        "a photo of leather",
    ]


@pytest.mark.parametrize(
    ("mode", "lists"),
    [*((mode, "auto") for mode in MODES), *((mode, "own") for mode in ("fast", "classic", "negative"))],
)
def test_every_mode_answers_with_words_and_scores(
    shared: Interrogation, photos: list[Path], tmp_path: Path, mode: str, lists: str
) -> None:
    answer = told(shared, asked(tmp_path, photos[1], mode=mode, phrases=lists))
    assert answer["text"]
    assert (answer["mode"], answer["model"]) == (mode, SMALL)
    assert answer["request"]["model"] == SMALL
    for phrase in answer["phrases"]:
        assert -1 <= phrase["score"] <= 1
        assert phrase["text"] in phrase_list(phrase["list"]).texts
    ours = [one for one in answer["phrases"] if one["list"] in (*phrases.OWN, *phrases.TAUGHT)]
    assert ours
    assert all(one["ko"] for one in ours)


def test_who_comes_while_phrases_are_learnt_waits_for_the_same_steps(
    photos: list[Path], tmp_path: Path
) -> None:
    engine = engine_in(tmp_path)
    first = engine.begin(asked(tmp_path, photos[0], 1, phrases="own"))
    engine.advance([first])
    second = engine.begin(asked(tmp_path, photos[1], 2, phrases="own"))
    assert first.key == second.key
    table = next(table for table in second.tables if not table.ready)
    before = table.missing
    engine.advance([first, second])
    assert table.missing < before
    engine.suspend(first)  # cancelled: what was learnt stays
    assert {id(t) for t in second.tables} == {id(t) for t in first.tables}
    assert len(drive(engine, [second])) == 1


def test_nothing_is_loaded_twice(photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    monkeypatch.setattr("engines.interrogation.clip.opened", lambda *a: (loads.append(a), opened(*a))[1])
    engine = engine_in(tmp_path)
    for number in range(3):
        told(engine, asked(tmp_path, photos[0], number))
    assert len(loads) == 1


def test_what_does_not_fit_the_budget_is_refused(photos: list[Path], tmp_path: Path) -> None:
    engine = engine_in(tmp_path, budget=1000)
    with pytest.raises(Refusal, match="memory"):
        engine.begin(asked(tmp_path, photos[0]))
    assert engine._models.used == 0


def test_a_picture_that_is_gone_is_a_sentence(shared: Interrogation, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no longer stored"):
        shared.begin(asked(tmp_path, tmp_path / "gone.png"))


def test_the_large_clip_is_the_default_where_it_is_here(tmp_path: Path) -> None:
    find = finders(tmp_path, "cpu", {})
    assert find.clip("").plan.name == SMALL
    shutil.copytree(embedded.CLIP, tmp_path / FIRST)  # stands for it: the same format
    found = finders(tmp_path, "cpu", {}).clip("")
    assert (found.plan.name, found.small) == (FIRST, False)
    assert finders(tmp_path, "cpu", {}).clip("ViT-L-14/openai").plan.name == FIRST
    assert finders(tmp_path, "cpu", {"interrogate": SMALL}).clip("").plan.name == SMALL


def test_a_caption_model_that_cannot_be_had_is_a_sentence(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", _broken)
    with pytest.raises(Refusal, match="blip-base"):
        engine_in(tmp_path).prepare(asked(tmp_path, photos[0], caption="blip-base"))


def test_blip_writes_the_first_sentence(photos: list[Path], tmp_path: Path) -> None:
    """A BLIP of the real classes, with weights of chance: there is no small trained one."""
    _small_blip(tmp_path / "blip-base")
    answer = told(engine_in(tmp_path), asked(tmp_path, photos[0], caption="blip-base"))
    assert answer["caption"]
    assert answer["text"].startswith(answer["caption"].split(", ")[0])


def test_models_read_ahead_are_copied_to_the_device_and_back(photos: list[Path], tmp_path: Path) -> None:
    """Through the very copies that a GPU gets, onto the CPU."""
    _small_blip(tmp_path / "blip-base")
    host = HostCache(10**9, moving.to_device, moving.to_host)
    models = Models(lambda name, kind: pytest.fail("read by name"), host=host)
    engine = Interrogation(models, finders(tmp_path, "cpu", {}), tmp_path / ".phrases")
    work = asked(tmp_path, photos[0], caption="blip-base")
    engine.prepare(work)
    assert not engine.ready(work)
    engine.prefetch(work, lambda: True)
    assert models.used == 0
    assert len(host._kept) == 2, "the CLIP and the BLIP"
    first = told(engine, work)
    assert engine.ready(work)
    assert not engine.ready(asked(tmp_path, photos[0], caption="blip-large")), "nobody prepared that"
    models.clear()
    assert not engine.ready(work)
    assert told(engine, work) == first


def _small_blip(folder: Path) -> None:
    from transformers import (
        BertTokenizerFast,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *(f"word{i}" for i in range(58))]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**size, "vocab_size": 64, "encoder_hidden_size": 16, "bos_token_id": 5, "eos_token_id": 3}
    text |= {"sep_token_id": 3, "pad_token_id": 0, "projection_dim": 16}
    vision = {**size, "image_size": 32, "patch_size": 16, "projection_dim": 16}
    torch.manual_seed(0)
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)


# The library as a peer


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package with short lists, for us and for the library."""
    package = phrases._package()
    assert package is not None
    (tmp_path / "data").mkdir()
    shutil.copy(package / "clip_interrogator.py", tmp_path)
    for name, count in (("artists", 4), ("flavors", 20), ("mediums", 4), ("movements", 4), ("negative", 4)):
        lines = (package / "data" / f"{name}.txt").read_text(encoding="utf-8").split("\n")[:count]
        (tmp_path / "data" / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(phrases, "_package", lambda: tmp_path)
    phrase_list.cache_clear()
    yield tmp_path
    phrase_list.cache_clear()


@pytest.fixture
def library(few: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The real `Interrogator` with the embedded CLIP and the same lists."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import clip_interrogator.clip_interrogator as package
    clip = opened(embedded.CLIP, "cpu")
    config = package.Config(
        caption_model_name=None,
        cache_path=None,
        download_cache=False,
        device="cpu",
        quiet=True,
        data_path=str(few / "data"),
    )
    config.clip_model, config.clip_preprocess = clip.model, clip._look
    monkeypatch.setattr(package.open_clip, "get_tokenizer", lambda name: clip.tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield package.Interrogator(config), clip


def ours(clip: Clip, picture: Image.Image, mode: str, sort: Sort, caption: str) -> Answer:
    """The script of a mode, its needs met one by one."""
    script = asking(mode, sort, clip.full, caption=caption)
    seen = clip.of_pictures([clip.pixels(picture)])[0]
    answer: Any = None
    try:
        while True:
            need: Need = script.send(answer)
            match need:
                case Look():
                    answer = None
                case Score():
                    answer = {
                        n: clip.of_texts(phrase_list(n).texts).half().float() @ seen for n in sort.lists
                    }
                case Texts(texts):
                    answer = clip.of_texts(texts) @ seen
                case Caption():
                    pytest.fail("nobody asked for BLIP")
    except StopIteration as end:
        found: Answer = end.value
        return found


def test_the_library_says_the_same(library: Any, photos: list[Path]) -> None:
    peer, clip = library
    sort = Sort(PACKAGE.groups, PACKAGE.merged, PACKAGE.singles, PACKAGE.flavors, 4, 2, repeats=True)
    for photo in photos[:2]:
        picture, caption = Image.open(photo), "a photo of a thing"
        expected = peer.interrogate_fast(picture, max_flavors=4, caption=caption)
        assert ours(clip, picture, "fast", sort, caption).text == expected
        expected = peer.interrogate_classic(picture, caption=caption)
        assert ours(clip, picture, "classic", sort, caption).text == expected
    expected = peer.interrogate(picture, min_flavors=2, max_flavors=4, caption=caption)
    text = ours(clip, picture, "best", sort, caption).text
    assert "".join(text.split()) == "".join(expected.split())  # "4k" and "4 k" are the same tokens: a tie


def test_the_library_ranks_the_same_in_parts(library: Any, photos: list[Path]) -> None:
    """Also where a list is longer than a part; reversed it is the same set, which is how the library uses it."""
    peer, _clip = library
    seen = peer.image_to_features(Image.open(photos[1]))
    table = peer.trendings
    fit = (seen @ torch.stack([torch.from_numpy(e) for e in table.embeds]).T)[0].detach()
    for chunk in (16, 30, 2048):
        table.chunk_size = chunk
        mine = [table.labels[i] for i in ranked(fit, 8, chunk=chunk)]
        assert mine == table.rank(seen, 8)
        worst = {table.labels[i] for i in ranked(fit, 500, chunk=chunk, reverse=True)}
        assert worst == set(table.rank(seen, 500, reverse=True))


def test_the_chain_of_worst_words_goes_down(library: Any, photos: list[Path]) -> None:
    """The library stops after one phrase there, by a sign; its first phrase is ours too."""
    peer, clip = library
    picture = Image.open(photos[1])
    sort = Sort(PACKAGE.groups, PACKAGE.merged, PACKAGE.singles, PACKAGE.flavors, 4, 2)
    text = ours(clip, picture, "negative", sort, "").text
    first = peer.interrogate_negative(picture, max_flavors=4).split(", ")[0]
    assert text.split(", ")[0] == first
    seen = peer.image_to_features(picture)
    assert peer.similarity(seen, text) <= peer.similarity(seen, first) + 1e-6


def test_a_reading_knows_how_far_it_is(shared: Interrogation, photos: list[Path], tmp_path: Path) -> None:
    run: Reading = shared.begin(asked(tmp_path, photos[0], mode="best"))
    while not run.finished:
        assert run.done < run.total
        shared.advance([run])
    assert run.done == run.total
    shared.suspend(run)
