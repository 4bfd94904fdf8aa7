"""Whether the text encoder is trained too: by itself in the defect mode, where several names are to be told apart."""

from __future__ import annotations

import pytest

from engines.forms import read_value
from engines.training.request import Train


@pytest.mark.parametrize(
    ("said", "mode", "learns"),
    [
        ("auto", "defect", True),
        ("auto", "normal", False),
        ("auto", "normal-inpainting", False),
        ("no", "defect", False),
        ("yes", "normal", True),
    ],
)
def test_the_words_are_learnt_where_defects_are_unless_told_otherwise(
    said: str, mode: str, learns: bool
) -> None:
    assert Train(save_as="a", mode=mode, text_encoder=said).learns_words is learns


@pytest.mark.parametrize(
    ("said", "meant"), [("Yes", "yes"), ("true", "yes"), ("아니요", "no"), ("AUTO", "auto")]
)
def test_it_is_said_like_any_yes_or_no(said: str, meant: str) -> None:
    assert read_value("text_encoder", Train.params()["text_encoder"], said) == (meant, None)


def test_a_training_that_was_stored_when_it_was_a_yes_or_no_goes_on_as_it_was() -> None:
    stored = Train(save_as="a", mode="defect").to_json()
    assert not Train.from_json(stored | {"text_encoder": False}).learns_words
    assert Train.from_json(stored | {"text_encoder": True, "mode": "normal"}).learns_words
    assert Train.from_json(stored).learns_words
