"""The answer of an interrogation as data: what the file holds, and what chats make words of. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Any

from engines.interrogation.form import Interrogate
from engines.interrogation.modes import Answer
from engines.interrogation.phrases import korean
from engines.models.memory import Blueprint


def told_of(request: Interrogate, plan: Blueprint, answer: Answer) -> dict[str, Any]:
    """`plan`: the CLIP that answered."""
    known = korean()
    return {
        "command": request.name,
        "request": dataclasses.replace(request, model=plan.name).to_json(),
        "model": plan.name,
        "hash": plan.hash,
        "mode": request.mode,
        "text": answer.text,
        "caption": answer.caption,
        "phrases": [
            {"text": said.text, "list": said.list, "score": round(said.score, 4)}
            | ({"ko": known[said.text]} if said.text in known else {})
            for said in answer.phrases
        ],
    }
