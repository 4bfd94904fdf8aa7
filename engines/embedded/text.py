"""The words' side: a byte-level CLIP tokenizer learnt from our captions and a small CLIP text encoder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from tokenizers import pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engines.embedded import DEFECTS, PRODUCTS, WEIGHTS
from engines.embedded.captions import caption

LENGTH = 77
VOCABULARY = 1024
START, END = "<|startoftext|>", "<|endoftext|>"
_COMMON = """surface damage broken chipped worn rusty rust burn burnt spot mark line deep long short thin thick small
large big tiny huge dark bright black white red green blue yellow orange brown grey gray purple pink shiny matte old
new dirty dusty clean industrial product factory inspection macro picture image studio light lighting high quality
detailed realistic blurry no not and or in the top left right corner center middle edge side two three many several
paint scuff bend bent hair fold bubble hit contamination glue oil water ink colour color screw cable zipper toothbrush
transistor hazelnut gear bolt plastic glass fabric cloth paper concrete stone pipe bearing weld"""
"""Words of inspection that no caption of ours has, so that they become few tokens."""


def corpus() -> Iterable[str]:
    """Captions to learn merges from: every product and defect in many wordings, and common words of inspection."""
    rng = np.random.default_rng(7)
    for product in PRODUCTS:
        for defect in (None, *DEFECTS):
            for _ in range(60):
                yield caption(rng, product, defect, local=True)
    for word in _COMMON.split():
        yield " ".join([word] * 12)


def learn_tokenizer() -> CLIPTokenizer:
    """A `VOCABULARY`-token CLIPTokenizer; every byte is a token, so any text in any script has tokens."""
    learner = CLIPTokenizer().backend_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=8,
    )
    learner.train_from_iterator(corpus(), trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = alphabet + [c + "</w>" for c in alphabet]
    merges = merges[: VOCABULARY - len(tokens) - 2]
    tokens += list(dict.fromkeys(t for t in (a + b for a, b in merges) if t not in set(tokens)))
    vocabulary = {token: k for k, token in enumerate([*tokens, START, END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def open_tokenizer() -> CLIPTokenizer:
    """The tokenizer in the repository; learnt only where there is none.

    Merges of equal counts come in another order each time they are learnt, and weights know their tokens by number.
    """
    shipped = WEIGHTS / "txt2img" / "tokenizer"
    return CLIPTokenizer.from_pretrained(shipped) if shipped.exists() else learn_tokenizer()


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """tokenizer.json with its config, and vocab.json + merges.txt for older readers."""
    tokenizer.save_pretrained(folder)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    pairs = [p if isinstance(p, str) else " ".join(p) for p in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(pairs) + "\n")


def build(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Three layers, width 128; under a million parameters."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=128, intermediate_size=512, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=LENGTH, projection_dim=128, hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """(n, 77) token ids as the Stable Diffusion pipelines make them."""
    found = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    return torch.as_tensor(found.input_ids)


@torch.no_grad()
def learn_from_clip(encoder: CLIPTextModel, clip: dict[str, Tensor]) -> None:
    """Copies the text tower of our CLIP (open_clip names) into the encoder, in place.

    CLIP learns in minutes to tell the captions apart, which a denoiser's own encoder takes thousands of steps to do.
    Layers that CLIP lacks are made to pass their input on.
    """
    own = {k.removeprefix("text_model."): v for k, v in encoder.state_dict().items()}
    own["embeddings.token_embedding.weight"].copy_(clip["token_embedding.weight"])
    own["embeddings.position_embedding.weight"].copy_(clip["positional_embedding"])
    for layer in range(encoder.config.num_hidden_layers):
        here, there = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            if f"{there}ln_1.weight" not in clip:
                own[f"{here}self_attn.out_proj.{kind}"].zero_()
                own[f"{here}mlp.fc2.{kind}"].zero_()
                continue
            parts = clip[f"{there}attn.in_proj_{kind}"].chunk(3)
            for name, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
                own[f"{here}self_attn.{name}.{kind}"].copy_(part)
            for name, other in _SAME.items():
                own[f"{here}{name}.{kind}"].copy_(clip[f"{there}{other}.{kind}"])
    for kind in ("weight", "bias"):
        own[f"final_layer_norm.{kind}"].copy_(clip[f"ln_final.{kind}"])


_SAME = {
    "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip
