"""Stories at the desk: what is said, what is promised, what is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from pathlib import Path

import pytest
from desk_world import BOSS, KIM, LEE, Sent, World, mask, opened, png
from PIL import Image

from bot.pictures.reading import PictureReader
from engines.requests import Inpaint, Txt2Img
from engines.words import Refusal, Words
from storage import Full


async def test_a_request_is_on_disk_when_it_is_accepted(world: World) -> None:
    answer = await world.say('/txt2img "a nut" steps:900')
    assert answer.kind == "accepted"
    assert answer.text.splitlines() == [
        "#1 txt2img · 1st in line",
        "`steps` 900 was changed to 150 (allowed: 1 to 150).",
    ]
    job = await world.job(1)
    assert (job.person, job.name, job.platform, job.state) == ("console:kim", "Kim", "console", "queued")
    request = Txt2Img.from_json(job.request)
    assert (request.prompt, request.steps, request.seed, request.model) == ("a nut", 150, 100, "toy")
    assert job.cost == request.cost
    assert answer.facts["seed"] == 100
    assert world.dispatcher.told == ["wake"]
    assert world.outbox.told == ["wake"]


async def test_the_same_saying_delivered_twice_is_one_job_and_one_answer(
    tmp_path: Path, reader: PictureReader
) -> None:
    async with opened(tmp_path, reader, queue_per_person=1) as world:
        said = world.said("/img2img x @a.png", Sent("a.png", png()))
        first = await world.desk.hear(said)
        assert await world.desk.hear(said) == first  # though the person's line is full by now
        assert await world.store.jobs.queued() == 1


async def test_the_same_saying_at_the_same_time_is_one_job(world: World) -> None:
    said = world.said("/img2img x @a.png", Sent("a.png", png()))
    answers = await asyncio.gather(*(world.desk.hear(said) for _ in range(3)))
    assert {answer.job for answer in answers} == {1}
    assert {answer.kind for answer in answers} == {"accepted"}
    assert await world.store.jobs.queued() == 1


async def test_two_at_once_cannot_both_have_the_last_place(tmp_path: Path, reader: PictureReader) -> None:
    async with opened(tmp_path, reader, queue_per_person=3) as world:
        answers = await asyncio.gather(*(world.say(f"/txt2img nut {i}") for i in range(8)))
        assert sorted(a.kind for a in answers) == ["accepted"] * 3 + ["refused"] * 5
        assert await world.store.jobs.queued() == 3
        refused = next(a for a in answers if a.kind == "refused")
        assert "3 are allowed" in refused.text
        assert (await world.say("/txt2img x", who=BOSS)).kind == "accepted"


async def test_place_in_line_is_told(world: World) -> None:
    for who in (KIM, LEE, BOSS):
        answer = await world.say("/txt2img x", who=who, lang="ko")
    assert answer.text == "#3 txt2img · 대기 3번째"


# what is said


async def test_a_mention_with_pictures_needs_no_names(world: World) -> None:
    photo, where = Sent("IMG_1.png", png()), Sent("IMG_2.png", mask())
    answer = await world.say("inpaint a scratch", photo, where)
    assert answer.kind == "accepted", answer.text
    request = Inpaint.from_json((await world.job(1)).request)
    assert request.model == "toy-inpaint"
    with Image.open(world.store.blobs.path(request.mask)) as stored:
        assert (stored.size, stored.getpixel((0, 0)), stored.getpixel((63, 47))) == ((64, 48), 255, 0)
    with Image.open(world.store.blobs.path(request.image)) as stored:
        assert stored.size == (64, 48)


async def test_names_in_the_text_decide_which_picture_is_which(world: World) -> None:
    answer = await world.say(
        "/inpaint x mask:@m.png image:@P.PNG", Sent("m.png", mask()), Sent("p.png", png())
    )
    assert answer.kind == "accepted", answer.text
    request = (await world.job(1)).request
    with Image.open(world.store.blobs.path(request["mask"])) as stored:
        assert stored.mode == "L"


async def test_two_pictures_of_the_same_name_are_two(world: World) -> None:
    """What phones send."""
    photo, where = Sent("image.png", png()), Sent("image.png", mask())
    assert (await world.say("/inpaint x @image.png mask:@image.png", photo, where)).kind == "accepted"
    assert (len(photo.reads), len(where.reads)) == (1, 1)


async def test_one_file_may_be_photo_and_mask(world: World) -> None:
    erased = Image.new("RGBA", (64, 64), (90, 90, 90, 255))
    erased.paste((0, 0, 0, 0), (10, 10, 30, 30))
    out = io.BytesIO()
    erased.save(out, "PNG")
    answer = await world.say("/inpaint x image:@a.png mask:@a.png", Sent("a.png", out.getvalue()))
    assert answer.kind == "accepted", answer.text
    assert "transparent" in answer.text


async def test_options_of_a_form_are_understood_like_text(world: World) -> None:
    options = {
        "prompt": "x",
        "image": Sent("a.png", png()),
        "mask": "box=0,0,50%,50%",
        "steps": 5,
        "seed": None,
    }
    answer = await world.say(command="inpaint", options=options)
    assert answer.kind == "accepted", answer.text
    request = Inpaint.from_json((await world.job(1)).request)
    assert (request.prompt, request.steps) == ("x", 5)
    assert world.store.blobs.path(request.mask).exists()


async def test_a_picture_too_many_is_told(world: World) -> None:
    answer = await world.say("/txt2img x", Sent("a.png", png()))
    assert "“a.png” was not used" in answer.text
    assert (await world.job(1)).notes[0][1].startswith("첨부 파일 “a.png”")


async def test_what_was_understood_of_a_mask_is_told(world: World) -> None:
    answer = await world.say("/inpaint x", Sent("a.png", png()), Sent("m.png", mask((32, 24))))
    assert "The mask was resized from 32 × 24 to the photo's 64 × 48 pixels." in answer.text


# what is refused


@pytest.mark.parametrize(
    ("text", "says", "form"),
    [
        ("/inpain x", "Did you mean `/inpaint`?", ""),
        ("/txt2img seed:7", "/txt2img needs `prompt`", "txt2img"),
        ("/img2img x", "/img2img needs `image`", "img2img"),
        ("/txt2img seed:7 steps:many", "`steps` must be a number", "txt2img"),
        ("/txt2img x steps:many", "`steps` must be a number from 1", ""),
        ("/txt2img x model:toi", "Nearest: `toy`", ""),
        ("/txt2img x model:toy-inpaint", "is made for inpaint", ""),
        ("/img2img x @b.png", "no attachment called “b.png”. Nothing is attached.", ""),
        ("/txt2img x sampler:Eula", "Choose one of: DPM++ 2M", ""),
    ],
)
async def test_a_refusal_says_what_to_do(world: World, text: str, says: str, form: str) -> None:
    answer = await world.say(text)
    assert answer.kind == "refused"
    assert says in answer.text
    assert answer.form == form
    assert await world.store.jobs.queued() == 0


async def test_an_inpainting_without_a_mask_opens_the_form(world: World) -> None:
    answer = await world.say("/inpaint x", Sent("a.png", png()))
    assert (answer.kind, answer.form) == ("refused", "inpaint")
    assert "`box=x,y,w,h`" in answer.text


@pytest.mark.parametrize("text", ["/img2img x model:nonsense @a.png", "/img2img x steps:many @a.png"])
async def test_nothing_is_downloaded_for_what_is_refused_anyway(world: World, text: str) -> None:
    photo = Sent("a.png", png())
    assert (await world.say(text, photo)).kind == "refused"
    assert photo.reads == []


async def test_a_bad_picture_is_refused_and_nothing_is_queued(world: World) -> None:
    for data, says in ((b"hello", "is a text file"), (b"", "is empty"), (png()[:80], "breaks off")):
        answer = await world.say("/img2img x", Sent("a.png", data))
        assert answer.kind == "refused"
        assert says in answer.text
    assert await world.store.jobs.queued() == 0


async def test_an_attachment_is_read_with_the_limit_and_its_refusal_is_told(
    tmp_path: Path, reader: PictureReader
) -> None:
    async with opened(tmp_path, reader, upload_bytes=1234) as world:
        large = Sent("a.png", error=Refusal(Words("too large", "너무 큽니다")))
        answer = await world.say("/img2img x", large, lang="ko")
        assert (answer.kind, answer.text, large.reads) == ("refused", "너무 큽니다", [1234])


async def test_a_white_mask_cannot_be_inverted(world: World) -> None:
    answer = await world.say(
        "/inpaint x invert:yes", Sent("a.png", png()), Sent("m.png", png(colour="white"))
    )
    assert "nothing would change" in answer.text


# what goes wrong


async def test_a_bug_becomes_an_id_and_never_a_traceback(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Sent("a.png", error=ZeroDivisionError("secret detail"))
    answer = await world.say("/img2img x", broken)
    assert answer.kind == "failed"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.facts["id"] in answer.text
    assert answer.facts["id"] in caplog.text
    assert "secret detail" in caplog.text


async def test_a_full_disk_is_a_sentence(world: World) -> None:
    answer = await world.say("/img2img x", Sent("a.png", error=Full("no room")), lang="ko")
    assert "디스크가 가득" in answer.text
    assert answer.facts == {"code": "disk"}


async def test_a_promise_holds_though_waking_the_others_fails(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The person hears of a bug, the row is there all the same, and saying it again tells of the job."""
    world.dispatcher.error = RuntimeError("boom")
    said = world.said("/txt2img x")
    assert (await world.desk.hear(said)).kind == "failed"
    assert (await world.desk.hear(said)).text == "#1 txt2img · 1st in line"


async def test_nobody_is_pinged_by_what_someone_says(world: World) -> None:
    for text in ("/txt2img x seed:@everyone", "/@everyone", "/txt2img x model:<@123>", "/help <@&9>@here"):
        answer = await world.say(text)
        assert answer.kind == "refused"
        for ping in ("@everyone", "<@", "@here"):
            assert ping not in answer.text


# language


async def test_a_person_chooses_the_language_or_follows_their_chat(world: World) -> None:
    assert (await world.say("/jobs", lang="ko")).text == "대기 중이거나 실행 중인 작업이 없습니다."
    assert (await world.say("/language ko")).text == "앞으로 한국어로 답하겠습니다."
    assert (await world.say("/jobs")).text == "대기 중이거나 실행 중인 작업이 없습니다."
    assert (await world.say("/nope")).text.startswith("“nope” 명령은 없습니다.")
    await world.say("/txt2img x")
    assert (await world.job(1)).language == "ko"
    assert "언어 설정을 따르겠습니다" in (await world.say("/language auto")).text
    assert (await world.say("/jobs", who=LEE)).text.startswith("You have no jobs")
    assert (await world.desk.language_of(KIM, "en")) == "en"
    assert (await world.desk.language_of(KIM, "fr")) == "en"


# pictures of one's own choice


async def test_a_chosen_picture_stands_in_for_a_missing_one(world: World) -> None:
    """The message menu "Use as input"."""
    answer = await world.say(command="use", options={"image": Sent("a.png", png())})
    assert answer.text.startswith("This picture is your next input")
    accepted = await world.say("/img2img x")
    assert "“Use as input”" in accepted.text
    with Image.open(world.store.blobs.path((await world.job(1)).request["image"])) as stored:
        assert stored.getpixel((0, 0)) == (255, 0, 0)
    assert (await world.say("/img2img x", who=LEE)).kind == "refused"
    other = await world.say("/img2img x", Sent("b.png", png(colour="blue")))
    assert "Use as input" not in other.text


async def test_a_menu_on_a_message_without_a_picture(world: World) -> None:
    assert (await world.say(command="use")).text == "There is no picture in this message."
    assert (await world.say(command="recipe", lang="ko")).text == "이 메시지에는 그림이 없습니다."


async def test_many_speak_at_once(world: World) -> None:
    """Answers are each one's own, whatever else is going on."""
    sayings = [
        world.say(
            f"/img2img nut {i}",
            Sent("a.png", png(colour=(i, 0, 0))),
            who=dataclasses.replace(KIM, id=f"c:{i}"),
        )
        for i in range(12)
    ]
    answers = await asyncio.gather(*sayings)
    for i, answer in enumerate(answers):
        job = await world.job(answer.job)
        assert (job.person, job.request["prompt"]) == (f"c:{i}", f"nut {i}")
        with Image.open(world.store.blobs.path(job.request["image"])) as stored:
            assert stored.getpixel((0, 0)) == (i, 0, 0)


async def test_even_a_closed_store_raises_nothing(
    tmp_path: Path, reader: PictureReader, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, reader) as world:
        pass
    assert (await world.say("/txt2img x")).kind == "failed"
    assert (await world.press("cancel", 1)).kind == "failed"
