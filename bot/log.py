"""Logs go to stderr, in one line an entry; what looks like a token never gets there."""

from __future__ import annotations

import logging
import re
import sys

_SECRET = re.compile(r"xox[a-z]-[\w-]+|xapp-[\w-]+|(?:Bot )?[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}")


class _NoSecrets(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _SECRET.sub("[secret]", super().format(record))


def to_stderr(level: str = "INFO") -> None:
    """Send every logger's lines to stderr at `level`; chatty libraries only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_NoSecrets("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("discord", "slack_bolt", "slack_sdk", "aiohttp", "diffusers", "httpx", "PIL", "matplotlib"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
