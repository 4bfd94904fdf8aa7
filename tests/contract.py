"""Discord's own OpenAPI file as a judge of what we send: every body is checked against the schema of its route."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

FILE = Path(__file__).parents[2] / "shared" / "contract" / "discord-openapi.json"


def contract() -> Contract:
    """The judge; skips the test with a message where the file is not there."""
    if not FILE.exists():
        pytest.skip(
            "Discord's OpenAPI file is not beside the repository (shared/contract/discord-openapi.json)"
        )
    return _read()


@functools.cache
def _read() -> Contract:
    return Contract(json.loads(FILE.read_text()))


class Contract:
    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._judges: dict[tuple[str, str], jsonschema.Draft202012Validator | None] = {}

    def check_all(self, requests: Iterable[Any]) -> int:
        """Check simcord's `http_requests`; returns how many had a body."""
        return sum(self.check(r.method, r.path, r.json) for r in requests)

    def check(self, method: str, path: str, body: Any) -> bool:
        """`AssertionError` where the route is unknown or the body is not what it takes; whether there was a body."""
        template = self.route(method, path)
        judge = self._judge(method, template)
        if body is None:
            return False
        assert judge is not None, f"{method} {template} takes no body, and got {body}"
        worst = jsonschema.exceptions.best_match(judge.iter_errors(as_sent(body)))
        assert worst is None, f"{method} {template}: {worst.json_path}: {worst.message[:500]}"
        return True

    def route(self, method: str, path: str) -> str:
        """The path template that `path` belongs to; the one with most literal parts wins."""
        parts = path.strip("/").split("/")
        fitting = [
            template
            for template, methods in self.document["paths"].items()
            if method.lower() in methods and _fits(template.strip("/").split("/"), parts)
        ]
        assert fitting, f"Discord has no {method} {path}"
        return min(fitting, key=lambda template: template.count("{"))

    def _judge(self, method: str, template: str) -> jsonschema.Draft202012Validator | None:
        key = (method, template)
        if key not in self._judges:
            content = (
                self.document["paths"][template][method.lower()].get("requestBody", {}).get("content", {})
            )
            schema = content.get("application/json", {}).get("schema")
            whole = {"components": self.document["components"], **(schema or {})}
            self._judges[key] = jsonschema.Draft202012Validator(whole) if schema else None
        return self._judges[key]


def _fits(template: list[str], parts: list[str]) -> bool:
    return len(template) == len(parts) and all(
        t.startswith("{") or t == p for t, p in zip(template, parts, strict=True)
    )


def as_sent(body: Any) -> Any:
    """discord.py sends some ids as numbers, which Discord takes for the strings it documents."""
    body = copy.deepcopy(body)
    for part in (body, body.get("data")) if isinstance(body, dict) else ():
        part = part or {}
        for attachment in part.get("attachments") or ():
            attachment["id"] = str(attachment["id"])
        allowed, reference = part.get("allowed_mentions") or {}, part.get("message_reference") or {}
        allowed.update(
            {kind: [str(id) for id in allowed[kind]] for kind in ("users", "roles") if kind in allowed}
        )
        reference.update({key: str(id) for key, id in reference.items() if key.endswith("_id")})
    return body
