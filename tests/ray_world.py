"""What tests of the pool over Ray share: where a work is, and how to kill what it is on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from engines.events import Event, Started

if TYPE_CHECKING:
    from engines.serving.ray_pool import RayPool
    from engines.serving.ray_post import Post


def post_of(pool: RayPool, job: int) -> Post:
    """Where a work is now."""
    (post,) = [post for post in pool._posts if any(held.job == job for held in post.works())]
    return post


def life_of(post: Post) -> tuple[str, int]:
    """The life of an actor, and its process."""
    assert post.report is not None
    return post.report.life, post.report.process


def sigkill(post: Post) -> None:
    os.kill(life_of(post)[1], signal.SIGKILL)


def starts(events: list[Event]) -> list[str]:
    return [event.device for event in events if isinstance(event, Started)]
