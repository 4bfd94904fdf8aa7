"""The Ray cluster: join it, or start one on this machine; who sits where. The bot asks `look`, in another process.

Ray is imported only once its environment is set: it reads that on import.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from engines.words import Refusal, Words

log = logging.getLogger(__name__)

LEAST = (2, 52)  # the first release with token authentication
TOKEN, TOKEN_FILE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
BOTS_OWN = ("DISCORD_TOKEN", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN")  # no business of a process with models
NICENESS = "RAY_worker_niceness"  # Ray makes its workers give way to all else on their machine, by 15
OBJECTS = 128 * 2**20  # bytes of shared memory: only events go through it
LOOK = 90.0  # seconds that the doctor waits for a cluster


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster, and what is wanted of it."""

    address: str = ""  # "auto" or host:port; "": one is started on this machine
    actors: int = 1  # where there is no GPU
    gpus: bool = True  # whether GPUs are used
    threads: int = 0  # CPU threads of an actor; 0 = a fair part of what there is


@dataclass(frozen=True, slots=True)
class Seat:
    """What one actor takes: a GPU, or so many CPUs."""

    gpus: int
    cpus: float


def installed() -> str | None:
    """The version of Ray that is installed; None where there is none, or one that is too old."""
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        return None
    return version if tuple(int(part) for part in version.split(".")[:2]) >= LEAST else None


def connect(cluster: Cluster) -> bool:
    """Join the cluster; whether that was to be done (else this process was in one already). Takes seconds.

    With token authentication: a cluster started here gets a token of its own that nobody else knows, for another
    one Ray's own rules hold (`RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`, `~/.ray/auth_token`).

    Raises:
        Refusal: there is no cluster at the address, or it does not let us in.
    """
    if installed() is None:
        raise Refusal(NOT_INSTALLED)
    prepare(cluster)
    import ray

    if ray.is_initialized():
        return False
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECTS}
    try:
        with _quiet(), _without(BOTS_OWN):
            ray.init(
                address=cluster.address or "local",
                log_to_driver=False,
                configure_logging=False,
                **({} if cluster.address else own),
            )
    except Exception as error:  # Ray has no one kind for this
        why = " ".join(str(error).split())[:200]
        raise Refusal(UNREACHABLE(address=cluster.address or "local", why=why)) from error
    _speak_on_stderr()
    return True


def prepare(cluster: Cluster) -> None:
    """Set Ray's environment. Before the first `import ray`, of `ray_pool` too: it is read then."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault(NICENESS, "0")  # inherited by what is started here
    if not cluster.address and not (os.environ.get(TOKEN) or os.environ.get(TOKEN_FILE)):
        os.environ[TOKEN] = secrets.token_hex(32)  # it need not outlive this process


def willing(cluster: Cluster) -> dict[str, Any]:
    """Options of an actor that keep it from giving way to everything else on its machine.

    A cluster that was started elsewhere knows nothing of our environment; making another one for an actor takes a second.
    """
    if not cluster.address:
        return {}
    return {"runtime_env": {"env_vars": {NICENESS: os.environ.get(NICENESS, "0")}}}


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray warns that it cannot take SIGTERM from us, which is as it should be."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """What is started meanwhile does not inherit these variables."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _speak_on_stderr() -> None:
    """What Ray's daemons say it prints on stdout, where answers go (`exec --json`): into our log instead."""
    from ray._private import worker

    def told(data: dict[str, Any], ignore_prefix: bool) -> None:
        log.warning("ray: %s", " ".join(" ".join(data["lines"]).split())[:300])

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = told


def keep_signals() -> None:
    """Ray's core takes SIGTERM for a crash, prints a trace and aborts 3 s later; the handler that was there before
    comes back. On the main thread, else nothing."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)


def seats(cluster: Cluster) -> list[Seat]:
    """One actor on each GPU of the cluster; without any, as many as are asked for, sharing the CPUs."""
    nodes = [node["Resources"] for node in _nodes()]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes) if cluster.gpus else 0
    if gpus:
        return [Seat(1, 0)] * gpus
    return [
        Seat(0, share([node.get("CPU", 0) for node in nodes], cluster.actors, cluster.threads))
    ] * cluster.actors


def _nodes() -> list[dict[str, Any]]:
    """The machines of the cluster that answer."""
    import ray

    told: Any = ray.nodes  # it has no types
    return [node for node in told() if node["Alive"]]


def share(cpus: Sequence[float], actors: int, threads: int = 0) -> float:
    """CPUs of each of `actors`, so that all find a place on machines with so many; below 1 where they are short."""
    best = threads or max(1, int(sum(cpus)) // actors)
    for each in range(best, 0, -1):
        if sum(int(cpu) // each for cpu in cpus) >= actors:
            return float(each)
    return int(100 * max(cpus, default=0) / actors) / 100


# ------------------------------------------------------------------ for the doctor


def look(address: str, folders: Sequence[Path]) -> dict[str, Any]:
    """The cluster as a process of its own finds it: {"nodes": [{"host", "cpus", "gpus", "missing"}]} or {"error"}.

    `missing`: those of `folders` that the machine does not have, or "" where it has no Defect Studio.
    """
    argv = [sys.executable, "-m", "engines.serving.ray_cluster", address, *map(str, folders)]
    root = Path(__file__).resolve().parents[2]
    try:
        told = subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=LOOK, check=False)
        found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {LOOK:.0f} s"}
    except (IndexError, ValueError):
        return {"error": (told.stderr.strip().splitlines() or [f"exit {told.returncode}"])[-1][:200]}
    return found


def _look(address: str, folders: Sequence[str]) -> dict[str, Any]:
    try:
        connect(Cluster(address))
    except Refusal as refusal:
        return {"error": refusal.words.en}
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = []
    for node in _nodes():
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked = ray.remote(_missing).options(num_cpus=0, scheduling_strategy=there).remote(folders)
        try:
            missing = ray.get(asked, timeout=30)
        except Exception:
            missing = [""]
        has = node["Resources"]
        told = {"host": node["NodeManagerHostname"], "missing": missing}
        nodes.append(told | {"cpus": has.get("CPU", 0), "gpus": has.get("GPU", 0)})
    ray.shutdown()
    return {"nodes": nodes}


def _missing(folders: Sequence[str]) -> list[str]:
    """On another machine: which of these folders are not there; "" where there is no Defect Studio."""
    try:
        import engines.serving.outpost  # noqa: F401
    except ImportError:
        return [""]
    return [folder for folder in folders if not Path(folder).is_dir()]


NOT_INSTALLED = Words(
    'Ray 2.52 or later is not installed. Install the extra `ray`, or set `pool.backend` to "local".',
    'Ray 2.52 이상이 설치되어 있지 않습니다. `ray` 추가 패키지를 설치하거나 `pool.backend`를 "local"로 바꿔 주십시오.',
)
UNREACHABLE = Words(
    "The Ray cluster ({address}) cannot be joined: {why}",
    "Ray 클러스터({address})에 연결할 수 없습니다: {why}",
)

if __name__ == "__main__":
    print(json.dumps(_look(sys.argv[1], sys.argv[2:])))
