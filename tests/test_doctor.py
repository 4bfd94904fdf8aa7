"""The doctor: a healthy studio has no errors, and each illness is named with its mend."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from discord_world import elsewhere
from typer.testing import CliRunner

from bot.__main__ import app
from bot.doctor import cluster, doctor
from bot.doctor.doctor import Finding, damaged, examine, usable
from bot.platforms.slack.manifest import SCOPES
from bot.settings.config import Config, load
from engines import embedded
from engines.devices import Device
from engines.models import catalogue
from engines.serving import ray_cluster
from engines.words import Words
from tests.loopback.discord import Discord as DiscordServer
from tests.loopback.slack import SlackServer


def config(folder: Path, text: str = "", **environment: str) -> Config:
    file = folder / "config.toml"
    file.write_text(f'data = "data"\n{text}')
    return load(file, environment)


def named(findings: list[Finding], template: Words) -> Finding:
    """The finding that says this; fails where nobody says it."""
    start = template.en.partition("{")[0]
    found = [finding for finding in findings if start and finding.what.en.startswith(start)]
    assert found, [finding.what.en for finding in findings]
    return found[0]


async def test_a_healthy_studio_has_no_errors_and_nothing_is_written(tmp_path: Path) -> None:
    found = await examine(config(tmp_path, '[engines]\ndevices = ["cpu"]'))
    assert [f.what.en for f in found if f.level == "error"] == []
    assert named(found, doctor.NO_PLATFORM).level == "warning"
    assert named(found, doctor.DEVICE).what.en.startswith("Device cpu")
    assert not (tmp_path / "data").exists()


async def test_every_finding_has_both_languages(tmp_path: Path) -> None:
    for finding in await examine(config(tmp_path)):
        assert finding.words.en != finding.words.ko
        assert "{" not in finding.words.en + finding.words.ko


async def test_half_a_slack_is_an_error(tmp_path: Path) -> None:
    finding = named(await examine(config(tmp_path, SLACK_BOT_TOKEN="xoxb-1")), doctor.HALF_SLACK)
    assert finding.level == "error"
    assert "SLACK_APP_TOKEN" in finding.words.ko


async def test_discord_and_slack_are_asked_for_scopes(tmp_path: Path) -> None:
    """What the platforms' own checks find comes out with its level: a missing scope is an error."""
    async with SlackServer() as slack, DiscordServer() as discord, elsewhere():
        slack.scopes = ",".join(scope for scope in SCOPES if scope != "files:write")
        bases = f'[discord]\napi_base = "{discord.api}"\n[slack]\napi_base = "{slack.api_base}"'
        tokens = {
            "SLACK_BOT_TOKEN": slack.bot_token,
            "SLACK_APP_TOKEN": slack.app_token,
            "DISCORD_TOKEN": "x",
        }
        found = await examine(config(tmp_path, bases, **tokens))
    said = {f.what.en: f.level for f in found}
    assert [level for what, level in said.items() if "files:write" in what] == ["error"]
    assert [level for what, level in said.items() if "privileged intent" in what] == ["ok"]
    assert [level for what, level in said.items() if what == "Discord: in factory"] == ["ok"]


def test_licences_are_told_and_a_missing_one_is_a_warning(tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"x")
    told = {
        name: doctor._licence(replace(catalogue.find(name, None), path=weights))
        for name in ("u2netp", "rmbg-1.4", "big-lama")
    }
    assert all("Apache-2.0" in told[name].what.en for name in ("u2netp", "big-lama"))
    assert "non-commercial" in told["rmbg-1.4"].what.en
    for language in ("en", "ko"):
        assert "u2netp" in told["rmbg-1.4"].words.of(language), "an alternative is named"
    unknown = doctor._licence(catalogue.Model("found-somewhere", (), path=weights))
    assert (unknown.level, unknown.mend) == ("warning", doctor.READ_LICENCE)
    assert all(model.licence for model in catalogue.own()), "what comes with the studio has one"


@pytest.mark.parametrize(("text", "status"), [("", 0), ('[models]\ntxt2img = "no-such"\n', 1)])
def test_the_exit_code_tells(tmp_path: Path, text: str, status: int) -> None:
    config(tmp_path, f'[engines]\ndevices = ["cpu"]\n{text}')
    found = CliRunner().invoke(app, ["doctor", "-c", str(tmp_path / "config.toml")])
    assert found.exit_code == status, found.output


async def test_slack_is_asked_whether_the_tokens_work(tmp_path: Path) -> None:
    async with SlackServer() as slack:
        base = f'[slack]\napi_base = "{slack.api_base}"'
        good = {"SLACK_BOT_TOKEN": slack.bot_token, "SLACK_APP_TOKEN": slack.app_token}
        found = await examine(config(tmp_path, base, **good))
        assert any(f.level == "ok" and "Slack" in f.what.en for f in found)
        found = await examine(config(tmp_path, base, **good | {"SLACK_BOT_TOKEN": "xoxb-wrong"}))
        assert any(f.level == "error" and "Slack" in f.what.en for f in found)


async def test_a_platform_out_of_reach_is_a_finding(tmp_path: Path) -> None:
    far = '[discord]\napi_base = "http://127.0.0.1:9"\n[slack]\napi_base = "http://127.0.0.1:9/api/"'
    tokens = {"DISCORD_TOKEN": "x", "SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1"}
    found = await examine(config(tmp_path, far, **tokens))
    for name in ("Discord", "Slack"):
        (out_of_reach,) = [f for f in found if f.what.en.startswith(f"{name} cannot be reached")]
        assert out_of_reach.level == "error"
        assert "Look at the network" in out_of_reach.words.en
    assert "xoxb-1" not in " ".join(f.words.en for f in found)


async def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    found = await examine(config(tmp_path))
    assert named(found, doctor.NOT_WRITABLE).level == "error"


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Any = shutil.disk_usage(tmp_path)._replace(free=100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    finding = named(await examine(config(tmp_path)), doctor.FOLDER)
    assert (finding.level, finding.mend) == ("error", doctor.MAKE_ROOM)


async def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    found = await examine(config(tmp_path, '[engines]\ndevices = ["cuda:77"]'))
    (finding,) = [f for f in found if f.mend == doctor.CHANGE_DEVICES]
    assert "cuda:77" in finding.what.en


FLAGS = "processor\t: 0\nflags\t\t: fpu avx2 {} avx512f\nbugs\t\t: spectre\n"


@pytest.mark.parametrize(
    ("flag", "dtype", "told"),
    [
        ("avx512_bf16", "auto", True),
        ("amx_bf16", "float32", True),
        ("avx512_bf16", "bfloat16", False),
        ("avx512_bw", "auto", False),
    ],
)
def test_bfloat16_is_told_of_where_the_processor_has_it_and_it_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, dtype: str, told: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(FLAGS.format(flag))
    monkeypatch.setattr("engines.devices.PROCESSOR_TOLD", tmp_path / "cpuinfo")
    found = list(doctor._devices(config(tmp_path, f'[engines]\ndevices = ["cpu"]\ndtype = "{dtype}"')))
    assert (doctor.BFLOAT16 in [finding.what for finding in found]) == told
    monkeypatch.setattr("engines.devices.PROCESSOR_TOLD", tmp_path / "nowhere")
    assert not doctor.devices.quick_bfloat16()


def test_a_device_that_torch_cannot_use() -> None:
    assert usable(Device("cpu"))
    assert not usable(Device("cuda:77"))


async def test_ray_is_looked_at_only_where_it_is_asked_for(tmp_path: Path) -> None:
    text = '[pool]\nbackend = "ray"'
    words = [f.what.en for f in await examine(config(tmp_path))]
    assert not any("Ray" in said for said in words)
    assert named(await examine(config(tmp_path, text)), cluster.HERE).level == "ok"


def test_ray_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.serving.ray_cluster.installed", lambda: None)
    (finding,) = cluster.examined(config(tmp_path, '[pool]\nbackend = "ray"'))
    assert (finding.level, finding.what) == ("error", ray_cluster.NOT_INSTALLED)


def test_a_cluster_that_is_out_of_reach_or_open_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr("engines.serving.ray_cluster.look", lambda *_: {"error": "nobody is there"})
    asked = config(tmp_path, '[pool]\nbackend = "ray"\naddress = "10.0.0.7:6379"')
    open_to_all, away = cluster.examined(asked)
    assert (open_to_all.level, open_to_all.mend) == ("warning", cluster.SET_MODE)
    assert (away.level, away.mend) == ("error", cluster.START)
    assert "nobody is there" in away.what.en


def test_machines_that_do_not_see_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Path]] = []

    def look(address: str, folders: list[Path]) -> dict[str, Any]:
        seen.append(folders)
        rest = {"cpus": 8.0, "gpus": 1.0}
        missing: tuple[list[str], ...] = ([], [str(folders[0])], [""])
        return {"nodes": [{"host": f"box-{n}", "missing": m} | rest for n, m in enumerate(missing)]}

    monkeypatch.setattr("engines.serving.ray_cluster.look", look)
    asked = config(tmp_path, '[pool]\nbackend = "ray"\naddress = "auto"')
    found = list(cluster.examined(asked))
    assert seen == [[tmp_path, tmp_path]], "the data folder is not there yet"
    assert [f.level for f in found] == ["ok", "error", "error"]
    assert [f.mend for f in found] == [None, cluster.MOUNT, cluster.INSTALL]


async def test_a_default_model_that_is_unknown_or_not_here(tmp_path: Path) -> None:
    text = '[models]\ntxt2img = "no-such"\ninpaint = "stable-diffusion-2-inpainting"'
    found = await examine(config(tmp_path, text))
    assert any(f.level == "error" and "no-such" in f.what.en for f in found)
    finding = named(found, doctor.NOT_HERE)
    assert "models fetch stable-diffusion-2-inpainting" in finding.words.ko


async def test_a_damaged_model_is_found(tmp_path: Path) -> None:
    if not (embedded.TXT2IMG / "model_index.json").is_file():
        pytest.skip("the embedded weights are not here")
    settings = config(tmp_path)
    copy = settings.models_folder / "broken"
    shutil.copytree(embedded.TXT2IMG, copy)
    weights = next(copy.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    finding = named(await examine(settings), doctor.DAMAGED(name="broken", files="{"))
    assert finding.level == "error"
    assert weights.name in finding.what.en


def test_a_missing_part_of_the_weights_is_found(tmp_path: Path) -> None:
    if not (embedded.INPAINT / "model_index.json").is_file():
        pytest.skip("the embedded weights are not here")
    copy = tmp_path / "model"
    shutil.copytree(embedded.INPAINT, copy)
    (part, *_) = copy.rglob("*-00001-of-*.safetensors")
    part.unlink()
    assert damaged(catalogue.Model("model", (), path=copy)) == [part.name]


def test_the_embedded_models_are_whole() -> None:
    for model in catalogue.own():
        assert damaged(model) == []


async def test_a_model_is_told_with_the_digest_of_its_weights(tmp_path: Path) -> None:
    models = catalogue.known(tmp_path)
    mini = next(model for model in models if model.name == "defect-studio/mini")
    digest = doctor.fingerprint(mini)
    assert f"sha256 {digest}…" in "\n".join(f.what.en for f in await examine(config(tmp_path)))
    assert mini.path
    copy = tmp_path / "copy"
    shutil.copytree(mini.path, copy)
    assert doctor.fingerprint(replace(mini, path=copy)) == digest
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights = weights if weights.exists() else next(copy.rglob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.unlink()
    weights.write_bytes(data)
    assert doctor.fingerprint(replace(mini, path=copy)) != digest
