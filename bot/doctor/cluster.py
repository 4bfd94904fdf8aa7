"""The doctor on the Ray cluster: is Ray here, is the cluster there, and do its machines see what this one sees?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bot.doctor.finding import Finding
from bot.settings.config import Config
from engines.serving import ray_cluster
from engines.words import Words


def examined(config: Config) -> Iterator[Finding]:
    """Nothing where Ray is not asked for. Waits for the cluster, in a process of its own."""
    pool = config.pool
    if pool.backend != "ray":
        return
    version = ray_cluster.installed()
    if version is None:
        yield Finding("error", ray_cluster.NOT_INSTALLED)
        return
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        yield Finding("warning", OPEN, SET_MODE)
    if not pool.address:
        yield Finding("ok", HERE(version=version))
        return
    told = ray_cluster.look(pool.address, [_there(config.data), _there(config.models_folder)])
    if "error" in told:
        what = ray_cluster.UNREACHABLE(address=pool.address, why=told["error"])
        yield Finding("error", what, START)
        return
    for node in told["nodes"]:
        yield _machine(node)


def _machine(node: dict[str, Any]) -> Finding:
    host, missing = node["host"], node["missing"]
    if "" in missing:
        return Finding("error", BARE(host=host), INSTALL)
    if missing:
        return Finding("error", UNSEEN(host=host, folders=", ".join(missing)), MOUNT)
    return Finding("ok", MACHINE(host=host, gpus=f"{node['gpus']:.0f}", cpus=f"{node['cpus']:.0f}"))


def _there(folder: Path) -> Path:
    """The folder, or what there is of its path before the first start."""
    whole = folder.resolve()
    return next(path for path in (whole, *whole.parents) if path.exists())


OPEN = Words("Ray's token authentication is switched off.", "Ray의 토큰 인증이 꺼져 있습니다.")
SET_MODE = Words(
    "Set RAY_AUTH_MODE=token on every machine: whoever reaches the cluster can run programs on it.",
    "모든 컴퓨터에서 RAY_AUTH_MODE=token을 설정해 주십시오. 클러스터에 닿는 사람은 누구나 프로그램을 실행할 수 있습니다.",
)
HERE = Words(
    "Ray {version}; its cluster is started with the bot, on this machine.",
    "Ray {version}. 봇을 시작할 때 이 컴퓨터에 클러스터를 엽니다.",
)
START = Words(
    "Start Ray on this machine too (`ray start`), with the cluster's token and the same release of Ray and Python.",
    "이 컴퓨터에서도 `ray start`를 실행하고, 클러스터의 토큰과 같은 버전의 Ray와 Python을 사용해 주십시오.",
)
MACHINE = Words(
    "Machine {host} of the cluster: {gpus} GPUs, {cpus} CPUs.",
    "클러스터의 {host}: GPU {gpus}개, CPU {cpus}개.",
)
BARE = Words(
    "Machine {host} of the cluster cannot load Defect Studio.",
    "클러스터의 {host}에서 Defect Studio를 불러올 수 없습니다.",
)
INSTALL = Words(
    "Install the same release there, and start Ray from its virtual environment.",
    "같은 버전을 설치하고 그 가상 환경에서 Ray를 시작해 주십시오.",
)
UNSEEN = Words(
    "Machine {host} of the cluster does not see {folders}.",
    "클러스터의 {host}에서 {folders} 폴더가 보이지 않습니다.",
)
MOUNT = Words(
    "Put the data and models on storage that is mounted at the same path on every machine.",
    "모든 컴퓨터에서 같은 경로로 연결되는 저장소에 데이터와 모델을 두어 주십시오.",
)
