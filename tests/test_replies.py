"""What is said about jobs, in both languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.answers import replies
from bot.locale.markup import block, code, harmless
from bot.locale.numbers import bar, duration, in_line, ordinal, size, time_left
from bot.talk import Limits
from engines.events import Progress
from engines.words import Words
from storage.jobs import Job
from storage.results import Result

LIMITS = Limits(file_bytes=10**7, files=10, message_bytes=10**8, edit_every=1.0, text=4000)


def job(**changed: Any) -> Job:
    request = {"prompt": "a nut with a scratch", "seed": 7, "model": "mini", "count": 1}
    whole: dict[str, Any] = {
        "id": 42, "key": "k", "person": "console:kim", "name": "Kim", "platform": "console", "place": {},
        "language": "en", "command": "txt2img", "request": request, "cost": 1.0, "state": "queued",
        "attempts": 0, "created": 0.0, "started": None, "ended": None, "seconds": None, "error": None,
        "notes": [], "department": "",
    }  # fmt: skip
    return Job(**{**whole, **changed})


def shown(count: int) -> list[replies.Shown]:
    made = [
        Result(42, i, "ab" * 32, f"42-{i}.png", "image/png", {"model": "mini"}, 64, 64) for i in range(count)
    ]
    return [replies.Shown(one, Path(f"/blobs/{one.index}")) for one in made]


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (10, "10th"),
        (11, "11th"),
        (12, "12th"),
        (13, "13th"),
        (21, "21st"),
        (22, "22nd"),
        (101, "101st"),
        (111, "111th"),
        (112, "112th"),
        (123, "123rd"),
    ],
)
def test_ordinals(n: int, said: str) -> None:
    assert ordinal(n) == said


def test_numbers_as_people_say_them() -> None:
    assert in_line(2) == Words("3rd in line", "대기 3번째")
    assert duration(6.34) == Words("6.3 s", "6.3초")
    assert duration(9.96) == Words("10 s", "10초")
    assert duration(59.7) == Words("1 min 0 s", "1분 0초")
    assert duration(3600) == Words("1 h 0 min", "1시간 0분")
    assert time_left(0.2) == Words("1 s left", "1초 남음")
    assert time_left(75.0) == Words("1 min 15 s left", "1분 15초 남음")
    assert size(4_270_000_000) == "4.27 GB"
    assert bar(12, 25, 5) == "▓▓░░░ 12/25"


@given(st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_a_bar_is_full_exactly_when_all_is_done(steps: tuple[int, int]) -> None:
    step, total = steps
    drawn = bar(step, total)
    assert ("░" not in drawn) == (step == total)
    assert len(drawn.split()[0]) == 10


def test_waiting() -> None:
    message = replies.status(job(), ahead=2)
    assert message.text == "#42 txt2img · 3rd in line\n`a nut with a scratch`"
    assert [b.id for b in message.buttons] == ["ds:cancel:42:0"]
    assert message.kind == "accepted"
    assert replies.status(job(language="ko"), ahead=2).text.startswith("#42 txt2img · 대기 3번째")


def test_running() -> None:
    running = job(state="running", language="ko")
    assert replies.status(running).text.startswith("#42 txt2img · 시작하는 중")
    message = replies.status(running, progress=Progress(12, 25, preview=b"jpg"), eta=8.2)
    assert message.text.startswith("#42 txt2img · ▓▓▓▓░░░░░░ 12/25 · 8초 남음")
    assert message.bar is not None
    assert (message.bar.step, message.bar.total, message.preview) == (12, 25, b"jpg")
    assert message.kind == "progress"
    assert "left" not in replies.status(job(state="running"), progress=Progress(25, 25), eta=0.0).text


def test_an_inpainting_can_show_its_mask_before_it_is_done() -> None:
    actions = [b.action for b in replies.status(job(command="inpaint")).buttons]
    assert actions == ["cancel", "overlay"]


def test_done() -> None:
    done = job(state="done", seconds=6.3, notes=[["cut", "잘림"], ["cut", "잘림"]])
    message = replies.answer(done, shown(1), limits=LIMITS)
    assert message.text == "#42 done in 6.3 s · seed 7 · mini\ncut\n```\na nut with a scratch\n```"
    assert message.mention == "console:kim"
    assert not message.private
    assert message.files[0].alt == "a nut with a scratch"
    assert message.facts == {"files": ["42-0.png"], "seconds": 6.3, "seed": 7, "model": "mini"}
    assert [b.action for b in message.buttons] == ["reroll", "vary", "use", "recipe", "delete"]
    korean = replies.answer(
        job(state="done", seconds=6.3, language="ko", notes=[["cut", "잘림"]]), shown(1), limits=LIMITS
    )
    assert korean.text.startswith("#42 완료 (6.3초) · 시드 7 · mini\n잘림\n")


@pytest.mark.parametrize("count", [1, 4, 10, 11, 16])
def test_pictures_and_buttons_fit_in_one_message(count: int) -> None:
    """More pictures than fit leave room for the archive; no platform carries more than 25 buttons."""
    message = replies.answer(job(state="done", seconds=1.0), shown(count), limits=LIMITS)
    assert len(message.files) == (count if count <= 10 else 9)
    assert len(message.buttons) <= 25
    assert len({b.id for b in message.buttons}) == len(message.buttons)
    assert all(len(b.id) <= 100 and 0 < len(b.label) <= 75 for b in message.buttons)
    assert len(message.facts["files"]) == count


def test_failed_says_the_cause_and_calls_the_asker() -> None:
    failed = job(
        state="failed",
        language="ko",
        error={"en": "No memory.", "ko": "메모리가 부족합니다.", "code": "memory"},
    )
    message = replies.answer(failed, [], limits=LIMITS)
    assert message.text.startswith("**#42 txt2img 작업이 실패했습니다.** 메모리가 부족합니다.")
    assert message.kind == "failed"
    assert message.mention == "console:kim"
    assert message.facts["code"] == "memory"
    assert "under #42" in replies.answer(job(state="failed"), [], limits=LIMITS).text


def test_cancelled_and_deleted_call_nobody() -> None:
    for ended, says in ((job(state="cancelled"), "cancelled"), (job(state="done", seconds=1.0), "deleted")):
        message = replies.answer(ended, [], limits=LIMITS)
        assert message.text == f"#42 txt2img · {says}"
        assert message.mention == ""
        assert message.kind == "failed"  # a program that waited for files must not take it for success


def test_nothing_a_stranger_writes_pings_or_breaks_out() -> None:
    evil = "```\n@everyone <@123> <!channel> @here ` **x**"
    for state, made in (("done", shown(1)), ("failed", [])):
        said = job(
            state=state, seconds=1.0, request={"prompt": evil}, error={"en": evil, "ko": evil, "code": "e"}
        )
        message = replies.answer(said, made, limits=LIMITS)
        for ping in ("@everyone", "<@123", "<!channel", "@here"):
            assert ping not in message.text
        assert replies.status(job(request={"prompt": evil})).text.count("`") == 2
    assert (
        replies.answer(
            job(state="done", seconds=1.0, request={"prompt": evil}), shown(1), limits=LIMITS
        ).text.count("```")
        == 2
    )


@given(st.text())
def test_code_stays_code_whatever_it_holds(text: str) -> None:
    assert code(text).count("`") == 2
    assert "\n" not in code(text)
    assert block(text).count("`") == 6
    assert harmless(harmless(text)) == harmless(text)


@given(
    prompt=st.text(max_size=5000),
    notes=st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300)), max_size=5),
    limit=st.integers(200, 4000),
    state=st.sampled_from(["done", "failed"]),
)
@settings(max_examples=100, deadline=None)
def test_a_message_never_has_more_than_its_limit(
    prompt: str, notes: list[tuple[str, str]], limit: int, state: str
) -> None:
    said = job(state=state, seconds=1.0, request={"prompt": prompt}, notes=[list(n) for n in notes])
    limits = Limits(file_bytes=1, files=10, message_bytes=1, edit_every=1.0, text=limit)
    message = replies.answer(said, shown(1) if state == "done" else [], limits=limits)
    assert len(message.text) <= limit
    assert message.text.startswith(("#42", "**#42"))
    assert message.text.count("```") in (0, 2)
    assert "prompt" not in message.facts
