"""Numbers as people say them: places in line, times, sizes, bars."""

from __future__ import annotations

from engines.words import Words

_IN_LINE = Words("{en_nth} in line", "대기 {n}번째")
_SECONDS = Words("{n} s", "{n}초")
_MINUTES = Words("{m} min {s} s", "{m}분 {s}초")
_HOURS = Words("{h} h {m} min", "{h}시간 {m}분")
_LEFT = Words("{time} left", "{time} 남음")
_SOON = Words("a few seconds", "몇 초")
_ABOUT_SECONDS = Words("about {n} s", "약 {n}초")
_MINUTE_OR_SO = Words("1–2 minutes", "1~2분")
_ABOUT_MINUTES = Words("about {n} minutes", "약 {n}분")
_ABOUT_HOUR = Words("about an hour", "약 1시간")
_ABOUT_HOURS = Words("about {n} hours", "약 {n}시간")


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th … 11th, 12th, 13th … 21st."""
    teen = 10 <= n % 100 <= 20
    return f"{n}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def in_line(ahead: int) -> Words:
    """The place in line of one who has `ahead` others before them."""
    return _IN_LINE(n=ahead + 1, en_nth=ordinal(ahead + 1))


def duration(seconds: float) -> Words:
    """A time span: tenths below ten seconds, then whole seconds, minutes, hours."""
    if round(seconds, 1) < 10:
        return _SECONDS(n=f"{max(seconds, 0.0):.1f}")
    whole = round(seconds)
    if whole < 60:
        return _SECONDS(n=whole)
    if whole < 3600:
        return _MINUTES(m=whole // 60, s=whole % 60)
    return _HOURS(h=whole // 3600, m=whole % 3600 // 60)


def time_left(seconds: float) -> Words:
    """An estimate, so never with tenths: `8 s left`."""
    whole = max(1, round(seconds))
    return _LEFT(time=_SECONDS(n=whole) if whole < 60 else duration(whole))


def about(seconds: float) -> Words:
    """A wait that nobody knows exactly: `about 40 s`, `1–2 minutes`, `about 15 minutes`."""
    if seconds < 7.5:
        return _SOON
    if seconds < 55:
        return _ABOUT_SECONDS(n=max(10, round(seconds / 10) * 10))
    if seconds < 120:
        return _MINUTE_OR_SO
    minutes = round(seconds / 60)
    if minutes < 50:
        return _ABOUT_MINUTES(n=minutes if minutes < 10 else round(minutes / 5) * 5)
    hours = round(seconds / 3600)
    return _ABOUT_HOUR if hours <= 1 else _ABOUT_HOURS(n=hours)


def bar(step: int, total: int, width: int = 10) -> str:
    """`▓▓▓▓▓░░░░░ 12/25`; full only when all is done."""
    total = max(total, 1)
    full = min(width, max(0, step * width // total))
    return f"{'▓' * full}{'░' * (width - full)} {step}/{total}"


def size(number: int) -> str:
    """Bytes as `25 MB`, `1.5 MB`, `10 KB`."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number} B"
