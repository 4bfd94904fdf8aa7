"""Dates as people say them: `today`, `어제`, `7d`, `12h`, `2026-11-02`. Days are those of this machine's clock."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from engines.words import Refusal, Words

_DAYS = {"today": 0, "오늘": 0, "yesterday": 1, "어제": 1}
_AGO = re.compile(r"(\d{1,5})\s*([hdwm]|시간|일|주|개월|달)")
_HOURS = {"h": 1, "시간": 1, "d": 24, "일": 24, "w": 168, "주": 168, "m": 720, "개월": 720, "달": 720}
_DATE = re.compile(r"(\d{4})[-./](\d{1,2})[-./](\d{1,2})\.?")


def moment(said: str, now: float, *, end: bool = False) -> float:
    """The Unix time a date begins, or with `end` the one at which it is over. Raises `Refusal`."""
    text = said.strip().lower()
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _HOURS[ago[2]] * 3600.0
    today = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        day = today - timedelta(days=_DAYS[text]) if text in _DAYS else _day(text)
        return (day + timedelta(days=1 if end else 0)).timestamp()
    except (ValueError, OverflowError):  # also where a calendar ends
        raise Refusal(_NO_DATE(said=said[:40])) from None


def _day(text: str) -> datetime:
    """Raises `ValueError` for what is no date, the 31st of a month of 30 days too."""
    if (match := _DATE.fullmatch(text)) is None:
        raise ValueError(text)
    return datetime(int(match[1]), int(match[2]), int(match[3]))


_NO_DATE = Words(
    "“{said}” is no date. Say for instance `today`, `yesterday`, `7d`, `12h` or `2026-11-02`.",
    "“{said}”은(는) 날짜가 아닙니다. `오늘`, `어제`, `7d`, `12h`, `2026-11-02` 처럼 입력해 주십시오.",
)
