"""The configuration: what is written is what is used, mistakes are one line that helps, secrets stay secret."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bot.settings.config import Config, ConfigError, load
from bot.settings.errors import keys
from bot.settings.example import example

ROOT = Path(__file__).parents[1]


def said(folder: Path, text: str, **environment: str) -> Config:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environment)


def mistake(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        said(folder, text)
    assert "{" not in caught.value.words.en + caught.value.words.ko
    return str(caught.value)


def test_without_a_file_everything_has_a_default() -> None:
    config = load(None, {})
    assert config.data == Path.cwd() / "studio-data"
    assert not config.discord.on
    assert not config.slack.on
    assert config.models_folder == config.data / "models"


def test_the_example_names_every_key_with_its_default(tmp_path: Path) -> None:
    written = tomllib.loads((ROOT / "config.example.toml").read_text(encoding="utf-8"))
    named = {k for k, v in written.items() if not isinstance(v, dict)}
    named |= {f"{s}.{k}" for s, part in written.items() if isinstance(part, dict) for k in part}
    assert named == {key for key, _ in keys(Config) if ".NAME." not in key}
    assert load(ROOT / "config.example.toml", {}) == Config().at(ROOT)


def test_the_example_is_the_one_the_models_write() -> None:
    assert (ROOT / "config.example.toml").read_text(encoding="utf-8") == example()


def test_every_key_says_why_it_is_there() -> None:
    assert [key for key, info in keys(Config) if len(info.description or "") < 8] == []


def test_relative_paths_start_at_the_files_own_folder(tmp_path: Path) -> None:
    config = said(tmp_path, 'data = "here"\n[models]\npaths = ["one.safetensors", "/two"]\nfolder = "m"')
    assert config.data == tmp_path / "here"
    assert config.models_folder == tmp_path / "m"
    assert config.engine_settings().model_paths == (tmp_path / "one.safetensors", Path("/two"))


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = said(tmp_path, '[discord]\ntoken = "from the file"', DISCORD_TOKEN=" from outside\n")
    assert config.discord.token.get_secret_value() == "from outside"


def test_slack_needs_both_tokens(tmp_path: Path) -> None:
    assert not said(tmp_path, "", SLACK_BOT_TOKEN="xoxb-1").slack.on
    assert said(tmp_path, "", SLACK_BOT_TOKEN="xoxb-1", SLACK_APP_TOKEN="xapp-1").slack.on


def test_no_secret_in_anything_printed(tmp_path: Path) -> None:
    secrets = {"DISCORD_TOKEN": "hush-d", "SLACK_BOT_TOKEN": "hush-b", "SLACK_APP_TOKEN": "hush-a"}
    config = said(tmp_path, "", **secrets)
    assert "hush" not in f"{config!r} {config} {config.model_dump_json()}"
    with pytest.raises(ConfigError) as caught:
        said(tmp_path, '[discord]\ntoken = ["hush-list"]')
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ('[discord]\ntokn = "x"', "discord.tokn", "discord.token"),
        ('dta = "x"', "dta", "data"),
        ("[limit]\nfile_mb = 1", "limit", "[limits]"),
        ('token = "x"', "token", "discord.token"),
        ("[engines]\npreview = 1", "engines.preview", "engines.preview_every"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(tmp_path: Path, text: str, key: str, near: str) -> None:
    line = mistake(tmp_path, text)
    assert line == f"{tmp_path / 'config.toml'}: unknown key `{key}`; did you mean `{near}`?"


def test_an_unknown_section_is_answered_with_the_sections(tmp_path: Path) -> None:
    assert "there are: discord, slack, limits" in mistake(tmp_path, "[zzzz]\nx = 1")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[limits]\nfile_mb = "many"', "`limits.file_mb` must be a number from 0.1 to 1000."),
        ("[limits]\nqueue_total = 0", "`limits.queue_total` must be a whole number from 1 to 1000000."),
        (
            '[engines]\ndtype = "half"',
            '`engines.dtype` must be one of "auto", "float32", "bfloat16", "float16".',
        ),
        ('[engines]\ndevices = ["gpu"]', '"cuda:0"'),
        ('[engines]\ndevices = "cpu"', "`engines.devices` must be a list, in [ ], each text like"),
        ('[pool]\naddress = "ray://box:10001"', "`pool.address` must be"),
        ('[pool]\nbackend = "dask"', '`pool.backend` must be one of "local", "ray".'),
        ("slack = 1", "`slack` must be a section, written [slack]."),
        ("data = 3", "`data` must be text in quotes."),
        ("data = {x = 3}", "`data` must be text in quotes."),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_allowed(tmp_path: Path, text: str, line: str) -> None:
    told = mistake(tmp_path, text)
    assert line in told
    assert len(told.splitlines()) == 1


def test_every_mistake_has_its_own_line(tmp_path: Path) -> None:
    assert len(mistake(tmp_path, 'a = 1\nb = 2\n[log]\nlevel = "LOUD"').splitlines()) == 3


def test_a_missing_or_broken_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no file .*nothing\.toml"):
        load(tmp_path / "nothing.toml", {})
    told = mistake(tmp_path, "data = yes\n")
    assert "is not valid TOML" in told
    assert "line 1" in told


def test_braces_in_a_file_name_or_key_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "{x}.toml"
    file.write_text('"{y}" = 1')
    with pytest.raises(ConfigError, match=r"\{x\}\.toml: unknown key `\{y\}`"):
        load(file, {})


def test_the_rooms_get_what_the_file_says(tmp_path: Path) -> None:
    config = said(
        tmp_path,
        'admins = ["console:kim"]\nlanguage = "ko"\n[limits]\nfile_mb = 3\nmegapixels = 0.5\nqueue_per_person = 4\n'
        '[engines]\ndevices = ["cpu"]\nmemory_gb = 1.5\n[models]\ninpaint = "my-model"\n[discord]\nguilds = [12, "34"]',
    )
    desk, engines, pictures = config.desk_settings(), config.engine_settings(), config.picture_limits()
    assert desk.admins == {"console:kim"}
    assert (desk.language, desk.queue_per_person, desk.upload_bytes) == ("ko", 4, 3_000_000)
    assert (pictures.file_bytes, pictures.pixels) == (3_000_000, 500_000)
    assert (engines.devices, engines.memory) == (("cpu",), 1_500_000_000)
    assert desk.models == engines.defaults == {"inpaint": "my-model"}
    assert config.discord.guilds == ("12", "34")


def test_without_a_file_the_data_lie_where_the_bot_starts_and_every_process_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(None, {})
    assert (config.data, config.models_folder) == (
        tmp_path / "studio-data",
        tmp_path / "studio-data" / "models",
    )
