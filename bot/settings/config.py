"""The configuration: one TOML file, every key with its default, its bounds and why it is there.

Secrets may come from the environment instead, which wins. A mistake ends as one line that names the key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, ValidationError

from bot.quotas import Department as DepartmentSettings
from bot.quotas import Quota
from bot.quotas import Role as RoleSettings
from bot.settings.sections import (
    Department,
    Discord,
    Engines,
    History,
    LimitsOf,
    Log,
    Metrics,
    Models,
    Names,
    PoolOf,
    Quotas,
    Role,
    Section,
    Slack,
    TrainingOf,
)
from engines.words import Language, Words

if TYPE_CHECKING:
    from bot.admission import DeskSettings
    from bot.pictures.reading import PictureLimits
    from engines.studio import EngineSettings

DATA = "./studio-data"


class Config(Section):
    """The whole file."""

    data: Path = Field(
        default=Path(DATA), description="database, pictures, models, results; one process at a time"
    )
    language: Language = Field(
        default="en", description='"en" or "ko", where neither the person nor the chat says one'
    )
    admins: Names = Field(
        default=(), description='who may cancel and delete all jobs, e.g. "console:kim", "slack:T1:U2"'
    )
    discord: Discord = Discord()
    slack: Slack = Slack()
    limits: LimitsOf = LimitsOf()
    quotas: Quotas = Quotas()
    roles: dict[str, Role] = Field(default={})
    departments: dict[str, Department] = Field(default={})
    history: History = History()
    engines: Engines = Engines()
    pool: PoolOf = PoolOf()
    models: Models = Models()
    training: TrainingOf = TrainingOf()
    metrics: Metrics = Metrics()
    log: Log = Log()

    def at(self, folder: Path) -> Self:
        """The same with relative paths taken from `folder`."""
        models = self.models
        found = models.model_copy(
            update={
                "folder": str(folder / models.folder) if models.folder else "",
                "paths": tuple(str(folder / Path(path).expanduser()) for path in models.paths),
            }
        )
        folders = tuple(str(folder / Path(path).expanduser()) for path in self.training.folders)
        training = self.training.model_copy(update={"folders": folders})
        return self.model_copy(
            update={"data": folder / self.data.expanduser(), "models": found, "training": training}
        )

    @property
    def models_folder(self) -> Path:
        return Path(self.models.folder).expanduser() if self.models.folder else self.data / "models"

    def picture_limits(self) -> PictureLimits:
        """What `bot.pictures.reading.PictureReader` keeps to."""
        from bot.pictures.reading import PictureLimits

        limits = self.limits
        return PictureLimits(
            file_bytes=int(limits.file_mb * 1e6),
            pixels=int(limits.megapixels * 1e6),
            memory_bytes=limits.decoder_mb * 1_000_000,
            seconds=limits.decoder_seconds,
            workers=limits.decoders,
        )

    def desk_settings(self) -> DeskSettings:
        """What `bot.desk.Desk` keeps to."""
        from bot.admission import DeskSettings, TrainingSettings

        return DeskSettings(
            training=TrainingSettings(
                folders=tuple(Path(folder).expanduser() for folder in self.training.folders),
                files=self.training.files,
                archive_bytes=int(self.training.archive_mb * 1e6),
            ),
            admins=frozenset(self.admins),
            upload_bytes=int(self.limits.file_mb * 1e6),
            archive_bytes=int(self.limits.archive_mb * 1e6),
            archive_files=self.limits.archive_files,
            queue_per_person=self.limits.queue_per_person,
            queue_total=self.limits.queue_total,
            language=self.language,
            models=self._default_models(),
            models_folder=self.models_folder,
            model_paths=self._model_paths(),
            roles=self._roles(),
            departments=self._departments(),
            everyone=Quota(
                self.quotas.jobs_a_day, self.quotas.gpu_minutes_a_day, self.limits.queue_per_person
            ),
        )

    def _roles(self) -> tuple[RoleSettings, ...]:
        return tuple(
            RoleSettings(n, frozenset((*r.discord, *r.slack)), frozenset(r.members), r.admin, _quota(r))
            for n, r in self.roles.items()
        )

    def _departments(self) -> tuple[DepartmentSettings, ...]:
        return tuple(
            DepartmentSettings(n, frozenset(d.roles), frozenset(d.members), d.weight, _quota(d))
            for n, d in self.departments.items()
        )

    def engine_settings(self) -> EngineSettings:
        """What `engines.studio.open_pool` needs. Imports no torch."""
        from engines.studio import EngineSettings

        engines = self.engines
        return EngineSettings(
            models=self.models_folder,
            model_paths=self._model_paths(),
            defaults=self._default_models(),
            devices=engines.devices,
            dtype=engines.dtype,
            compile=engines.compile,
            threads=engines.threads,
            memory=int(engines.memory_gb * 1e9) or None,
            host_cache=int(engines.host_cache_gb * 1e9),
            rows=engines.rows,
            slots=engines.slots,
            tiny_decoder=engines.tiny_decoder,
            preview_every=engines.preview_every,
            background_share=engines.background_share,
            tick_seconds=engines.tick_seconds,
            backend=self.pool.backend,
            address=self.pool.address,
            actors=self.pool.actors,
        )

    def _default_models(self) -> dict[str, str]:
        kinds = [key for key in type(self.models).model_fields if key not in ("folder", "paths")]
        return {kind: name for kind in kinds if (name := getattr(self.models, kind))}

    def _model_paths(self) -> tuple[Path, ...]:
        return tuple(Path(path) for path in self.models.paths)


def _quota(of: Role | Department) -> Quota:
    return Quota(of.jobs_a_day, of.gpu_minutes_a_day, of.queue)


class ConfigError(Exception):
    """The file cannot be used; the message is one line for each mistake."""

    def __init__(self, words: Words) -> None:
        super().__init__(words.en)
        self.words = words


SECRETS = (
    ("DISCORD_TOKEN", "discord", "token"),
    ("SLACK_BOT_TOKEN", "slack", "bot_token"),
    ("SLACK_APP_TOKEN", "slack", "app_token"),
)


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration in the file at `path`, or the built-in one. Raises `ConfigError`.

    Relative paths in a file are taken from the file's own folder, so that it does not matter where the bot starts;
    without one from here. They are whole from now on: other processes are at home elsewhere.
    """
    said = _read(path) if path is not None else {}
    for variable, section, key in SECRETS:
        if secret := environment.get(variable, "").strip():
            part = said.setdefault(section, {})
            if isinstance(part, dict):
                part[key] = secret
    try:
        config = Config.model_validate(said)
    except ValidationError as error:
        from bot.settings.errors import explained

        raise ConfigError(explained(error, Config, path)) from None
    for name, department in config.departments.items():
        if unknown := [role for role in department.roles if role not in config.roles]:
            raise ConfigError(_NO_ROLE(file=path, name=name, role=unknown[0]))
    return config.at(path.resolve().parent if path is not None else Path.cwd())


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(_ABSENT(path=path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(_UNREADABLE(path=path, why=error)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_NOT_TOML(path=path, why=error)) from None


_NO_ROLE = Words(
    "{file}: `departments.{name}.roles` names “{role}”, but there is no section [roles.{role}].",
    "{file}: `departments.{name}.roles` 에 “{role}”이(가) 있지만 [roles.{role}] 항목이 없습니다.",
)
_ABSENT = Words(
    "There is no file {path}. Copy config.example.toml, or leave out -c for the built-in configuration.",
    "{path} 파일이 없습니다. config.example.toml을 복사해 쓰거나, -c 없이 내장 설정으로 실행해 주십시오.",
)
_UNREADABLE = Words("{path} cannot be read: {why}", "{path} 파일을 읽을 수 없습니다: {why}")
_NOT_TOML = Words("{path} is not valid TOML: {why}", "{path} 파일은 올바른 TOML이 아닙니다: {why}")
