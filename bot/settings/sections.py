"""The sections of the configuration: every key with its default, its bounds and why it is there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr


def _names(value: Any) -> Any:
    """Ids may be written as numbers."""
    if isinstance(value, list | tuple):
        return tuple(str(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in value)
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
DeviceName = Annotated[
    str,
    Field(pattern=r"^(auto|cpu(:\d+)?|mps|cuda(:\d+)?)$", examples=["auto", "cpu", "mps", "cuda", "cuda:0"]),
]


class Section(BaseModel):
    """A part of the file. Frozen; a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Discord(Section):
    """Discord; off without a token."""

    token: SecretStr = Field(
        default=SecretStr(""), description="the bot's token; the environment's DISCORD_TOKEN wins"
    )
    guilds: Names = Field(
        default=(),
        description="server ids that get the commands at once; none: every server, which takes longer",
    )
    admins: Names = Field(default=(), description="user ids that may cancel and delete everybody's jobs")
    admin_roles: Names = Field(default=(), description="role ids whose members may do the same")
    api_base: str = Field(
        default="", description='another server in place of Discord\'s API; "" is Discord itself'
    )
    gateway: str = Field(default="", description="another server in place of Discord's gateway")
    proxy: str = Field(default="", description="an HTTP proxy to reach Discord through")

    @property
    def on(self) -> bool:
        return bool(self.token.get_secret_value())


class Slack(Section):
    """Slack (Socket Mode); off unless both tokens are there."""

    bot_token: SecretStr = Field(
        default=SecretStr(""), description="xoxb-…; the environment's SLACK_BOT_TOKEN wins"
    )
    app_token: SecretStr = Field(
        default=SecretStr(""), description="xapp-…; the environment's SLACK_APP_TOKEN wins"
    )
    admins: Names = Field(
        default=(), description="ids of people and user groups that may cancel and delete all jobs"
    )
    api_base: str = Field(
        default="", description='another server in place of Slack\'s Web API; "" is Slack itself'
    )

    @property
    def on(self) -> bool:
        return bool(self.bot_token.get_secret_value() and self.app_token.get_secret_value())


class LimitsOf(Section):
    """What a person may send and queue."""

    file_mb: float = Field(
        default=25.0, ge=0.1, le=1000, description="largest picture taken in, in megabytes"
    )
    archive_mb: float = Field(
        default=500.0, ge=1, le=100000, description="largest ZIP taken in, in megabytes"
    )
    archive_files: int = Field(
        default=500, ge=2, le=10000, description="most pictures of one ZIP, masks counted too"
    )
    megapixels: float = Field(
        default=50.0, ge=0.01, le=500, description="most pixels of a picture, in millions"
    )
    decoders: int = Field(
        default=2, ge=1, le=16, description="processes that unpack pictures at the same time"
    )
    decoder_mb: int = Field(
        default=3000, ge=500, le=64000, description="memory each of them may take; bombs end there"
    )
    decoder_seconds: float = Field(
        default=30.0, ge=1, le=600, description="CPU time one picture may take to unpack"
    )
    queue_per_person: int = Field(
        default=20, ge=1, le=10000, description="open jobs of one person; admins have no limit"
    )
    queue_total: int = Field(default=1000, ge=1, le=1000000, description="open jobs of everybody together")


class Engines(Section):
    """The devices and how they work."""

    devices: tuple[DeviceName, ...] = Field(
        default=("auto",),
        min_length=1,
        description='"auto", "cpu", "mps", "cuda" (all) or "cuda:0", …; one job thread each',
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="number format; auto: float32 on the CPU (the doctor tells where bfloat16 is faster), half precision on a GPU",
    )
    compile: Literal["auto", "yes", "no"] = Field(
        default="auto", description="torch.compile of the UNets, made ready in the background; auto: on CUDA"
    )
    threads: int = Field(default=0, ge=0, le=1024, description="CPU threads of a step; 0: all cores")
    memory_gb: float = Field(
        default=0.0, ge=0, le=10000, description="models kept on each device; 0: a part of what it has"
    )
    host_cache_gb: float = Field(
        default=8.0,
        ge=0,
        le=10000,
        description="models kept in main memory beside those on GPUs, a quarter of it at most; 0: none",
    )
    rows: int = Field(default=0, ge=0, le=1024, description="pictures stepped at once at most; 0: by device")
    slots: int = Field(default=8, ge=1, le=256, description="jobs in flight on each device")
    tick_seconds: float = Field(
        default=0.0, ge=0, le=60, description="a shared step takes no longer, by fewer rows; 0: by device"
    )
    tiny_decoder: str = Field(
        default="",
        description="a decoder for finer previews of Stable Diffusion 1 and 2: a folder or "
        '"madebyollin/taesd" of the hub; "": taesd/ in the models folder, where it is',
    )
    preview_every: int = Field(default=5, ge=0, le=1000, description="steps between previews; 0: none")
    background_share: float = Field(
        default=0.1, ge=0, le=1, description="the least part of a device for training while people wait"
    )


class PoolOf(Section):
    """Where the devices are: on this machine, or on all machines of a Ray cluster (see the README)."""

    backend: Literal["local", "ray"] = Field(
        default="local", description='"ray": each device in a process of its own, on one or many machines'
    )
    address: str = Field(
        default="",
        pattern=r"^(auto|[\w.\-]+:\d+)?$",
        examples=["", "auto", "10.0.0.7:6379"],
        description='of the Ray cluster, e.g. "10.0.0.7:6379"; "": one is started on this machine',
    )
    actors: int = Field(
        default=1, ge=1, le=256, description="processes where there is no GPU; else one for each GPU"
    )


class Models(Section):
    """The models: where they lie, and which is used when nobody names one."""

    folder: str = Field(
        default="", description='where models lie and are downloaded to; "": models/ in the data folder'
    )
    paths: tuple[str, ...] = Field(default=(), description="further model folders or .safetensors files")
    txt2img: str = Field(default="", description='used when none is named; "": the embedded one')
    img2img: str = Field(default="", description='used when none is named; "": the embedded one')
    inpaint: str = Field(default="", description='used when none is named; "": the embedded one')
    removebg: str = Field(default="", description='used when none is named; "": u2netp')
    interrogate: str = Field(
        default="",
        description='used when none is named; "": ViT-L-14-openai where it is, else the embedded one',
    )


class Quotas(Section):
    """What everybody may use; a role or department may say otherwise. 0: no limit. Admins have none."""

    jobs_a_day: int = Field(default=0, ge=0, le=1000000, description="jobs of one person from midnight on")
    gpu_minutes_a_day: float = Field(
        default=0.0, ge=0, le=100000, description="minutes on a device of one person from midnight on"
    )


class Role(Section):
    """People by what a chat says they are: any name in place of NAME, as many roles as you like."""

    discord: Names = Field(default=(), description="ids of Discord roles whose members have it")
    slack: Names = Field(default=(), description="ids (S…) of Slack user groups whose members have it")
    members: Names = Field(default=(), description='further people, e.g. "console:kim", "slack:T1:U2"')
    admin: bool = Field(default=False, description="whether they may do what admins may")
    jobs_a_day: int = Field(default=0, ge=0, le=1000000, description="for each of them; 0: as [quotas]")
    gpu_minutes_a_day: float = Field(
        default=0.0, ge=0, le=100000, description="for each of them; 0: as [quotas]"
    )
    queue: int = Field(
        default=0, ge=0, le=10000, description="open jobs of each; 0: as limits.queue_per_person"
    )


class Department(Section):
    """People who share a quota and a weight: any name in place of NAME. One is in the first that fits."""

    roles: Names = Field(default=(), description="names of roles whose members belong to it")
    members: Names = Field(default=(), description='further people, e.g. "console:kim", "slack:T1:U2"')
    weight: float = Field(
        default=1.0, ge=0.01, le=100, description="2: its people get twice the share of the devices"
    )
    jobs_a_day: int = Field(default=0, ge=0, le=1000000, description="of all of them together; 0: no limit")
    gpu_minutes_a_day: float = Field(
        default=0.0, ge=0, le=100000, description="of all of them together; 0: no limit"
    )
    queue: int = Field(default=0, ge=0, le=100000, description="open jobs of all together; 0: no limit")


class History(Section):
    """How long results are kept."""

    keep_days: int = Field(
        default=0, ge=0, le=100000, description="older results are deleted unless bookmarked; 0: never"
    )


class TrainingOf(Section):
    """Data sets to train from."""

    folders: tuple[str, ...] = Field(
        default=(), description="folders of this machine that admins may train from (`dataset:folder:/…`)"
    )
    files: int = Field(default=5000, ge=1, le=1000000, description="most files in one data set")
    archive_mb: float = Field(
        default=2000.0, ge=0.1, le=1000000, description="largest ZIP with one, in megabytes"
    )


class Metrics(Section):
    """Figures for Prometheus and a health address, on this machine."""

    port: int = Field(default=0, ge=0, le=65535, description="serves /metrics and /health; 0: neither")
    host: str = Field(default="127.0.0.1", description="whom it listens to; the default: this machine alone")


class Log(Section):
    """What is told on stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="how much is told"
    )
