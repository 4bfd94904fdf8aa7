"""The cross-attention term: the defect's words come to look at the mask, and without it nothing is watched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_models
import torch
import training_world as world
from diffusers import UNet2DConditionModel

from engines.training import attention, rows
from engines.training.concepts import Order
from engines.training.rows import only_of_the_defect

pytestmark = pytest.mark.usefixtures("one_thread")

ALONE: dict[str, Any] = {  # nothing is learnt but the term
    "attention_weight": 1.0, "defect_weight": 0.0, "object_weight": 0.0, "prior": False, "prompt_noise": 0.0,
    "empty_prompts": 0.0, "full_masks": 0.0,
}  # fmt: skip


@pytest.fixture
def begun(bases: Path, tmp_path: Path) -> Any:
    told, files = world.data(tmp_path / "data", concepts=1, shots=2)
    own = world.engine(world.house(tmp_path / "models", bases))

    def begin(**more: Any) -> Any:
        request = world.train(**({"concepts": tuple(told)} | more))
        return own, own.begin(world.work(tmp_path / "work", request, files))

    return begin


def batch(run: Any, count: int = 4) -> list[rows.Row]:
    order = Order(run.concepts, run.request.seed)
    return [row for one in order.span(1000, count) for row in rows.of(one, run.request, run.concepts)]


@torch.no_grad()
def inside(run: Any) -> float:
    """How much the defect's words are looked at from inside the masks, compared with outside."""
    drawn, tokenizer = batch(run), run.learner.parts.tokenizer
    with attention.watched(run.learner.unet, True) as maps:
        run.learner.row_losses(drawn, run.sights)
    shares = []
    for i, row in enumerate(drawn):
        mask = run.sights.see(row.ask).defect
        look = attention.looked(
            [m[i] for m in maps], attention.tokens(tokenizer, row.prompt, row.defect), mask
        )
        shares.append(float((look * mask).sum() / mask.sum() / look.mean()))
    return sum(shares) / len(shares)


@pytest.mark.parametrize(
    ("method", "saving"), [("lora", False), ("lora", True), ("full", False), ("full", True)]
)
def test_with_the_term_alone_the_attention_inside_the_mask_rises(
    begun: Any, method: str, saving: bool
) -> None:
    own, run = begun(**ALONE, method=method, gradient_checkpointing=saving, steps=30, learning_rate=3e-3)
    before = inside(run)
    while not run.finished and run.learnt < 25:
        own.advance([run])
    assert inside(run) > 1.02 * before
    run.cancelled = True
    own.suspend(run)


def test_without_it_nothing_is_watched_and_every_row_is_as_it_was(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> Any:
        raise AssertionError("a map was worked out")

    monkeypatch.setattr(attention, "_map", forbidden)
    own, run = begun(steps=2)
    assert not any(row.defect for row in batch(run))
    own.advance([run])
    while run.learnt < 1:
        own.advance([run])
    run.cancelled = True
    own.suspend(run)


def test_the_map_is_the_networks_own_attention() -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), cross_attention_dim=32,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), block_out_channels=(32, 32), layers_per_block=1,
        attention_head_dim=4, norm_num_groups=8,
    )  # fmt: skip
    layer: Any = next(
        m
        for name, m in unet.named_modules()
        if name.endswith("up_blocks.1.attentions.0.transformer_blocks.0.attn2")
    )
    seen, text = torch.randn(2, 64, 32), torch.randn(2, 7, 32)
    query, key = (layer.head_to_batch_dim(part) for part in (layer.to_q(seen), layer.to_k(text)))
    theirs = layer.get_attention_scores(query, key).unflatten(0, (2, -1)).mean(1)
    with attention.watched(unet, True) as maps:
        unet(torch.randn(2, 4, 8, 8), 1, encoder_hidden_states=text)
    assert len(maps) == 2, "the decoder's two layers"
    assert torch.allclose(attention._map(layer, seen, text), theirs, atol=1e-6)
    assert not any(m._forward_pre_hooks for m in unet.modules())


@pytest.mark.parametrize(
    ("prompt", "class_prompt", "words"),
    [
        ("a photo of a metal nut with a scratch", "a photo of a metal nut", "scratch"),
        ("a photo of a bent metal nut", "A photo of a metal nut", "bent"),
        ("a photo of a broken teeth zipper", "a photo of a zipper", "broken teeth"),
        ("a nut", "a nut", ""),
        ("a scratched nut", "", ""),
    ],
)
def test_the_defects_words_are_those_that_the_class_has_not(
    prompt: str, class_prompt: str, words: str
) -> None:
    assert only_of_the_defect(prompt, class_prompt) == words


def test_a_words_tokens_are_found_wherever_it_stands(tmp_path: Path) -> None:
    tokenizer = small_models.tokenizer(tmp_path)
    prompt = "a bent nut"
    places = attention.tokens(tokenizer, prompt, "bent")
    ids = tokenizer(prompt).input_ids
    assert tokenizer.decode([ids[place] for place in places]).strip() == "bent"
    assert attention.tokens(tokenizer, prompt, "") == []
    assert attention.tokens(tokenizer, "x" * 200 + " dent", "dent") == [], "cut off with the prompt's end"


def test_the_loss_is_how_far_the_look_is_from_the_mask() -> None:
    mask = torch.zeros(1, 2, 2)
    mask[0, 0, 0] = 1
    layer = torch.zeros(4, 3)
    layer[:, 2] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert torch.equal(attention.looked([layer], [2], mask), mask)
    layer[:, 2] = 0.5
    assert float(((attention.looked([layer, layer], [2], mask) - mask) ** 2).mean()) == 0.25
