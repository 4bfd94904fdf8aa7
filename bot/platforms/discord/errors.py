"""What Discord's errors mean for us: gone, too large, or try again later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import discord

from bot.talk import Gone, TooLarge, Unreachable

TOO_LARGE = frozenset({40005, 50045})  # request entity too large, file exceeds the maximum size
# 30046: too many edits of an old message. The message is there, but shut to us: same end as gone.
NO_USE = frozenset({10003, 10004, 10008, 30046, 50001, 50007, 50013, 50083})
FAILURES = (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError)  # of any call to Discord
WAIT = 60.0  # seconds, where Discord forbids and does not say for how long


@contextmanager
def translated() -> Iterator[None]:
    """Turn what discord.py and aiohttp raise into `Gone`, `TooLarge` or `Unreachable`.

    A 400 with any other code is a mistake of ours and stays what it is: a bug with a traceback.
    discord.py repeats on 5xx by itself, so after any failure an earlier try may have been carried out:
    nearly every `Unreachable` is uncertain, which costs one look at the channel.
    """
    try:
        yield
    except discord.RateLimited as error:
        raise Unreachable("Discord's rate limit", retry_after=error.retry_after, uncertain=True) from error
    except discord.HTTPException as error:
        meant = meaning(error)
        if meant is None:
            raise
        raise meant from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unreachable(f"Discord: {type(error).__name__} {error}", uncertain=True) from error


def meaning(error: discord.HTTPException) -> Exception | None:
    """The exception of ours that an answer of Discord's stands for; None where it is our bug."""
    why = f"Discord {error.status}/{error.code}: {error.text[:200]}"
    if error.status == 413 or error.code in TOO_LARGE:
        return TooLarge(why)
    if error.status == 429:
        return Unreachable(why, retry_after=_retry_after(error), uncertain=True)
    if error.status == 401:
        return Unreachable(why, retry_after=WAIT)
    if error.status in (403, 404) or error.code in NO_USE:
        return Gone(why)
    if error.status >= 500:
        return Unreachable(why, uncertain=True)
    return None


def _retry_after(error: discord.HTTPException) -> float:
    try:
        return float(error.response.headers["Retry-After"])
    except (KeyError, ValueError):
        return WAIT
