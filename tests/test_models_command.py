"""/models: who sees which model, and what may be done with one's own."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desk_world import BOSS, HERE, KIM, LEE, Sent, World, mask, png
from safetensors.numpy import save_file

from bot.models.buttons import after_training
from bot.talk import Limits, Message, Person, Place
from engines.models import catalogue
from engines.requests import Compare
from engines.words import Refusal

THERE = Place("console", "elsewhere")
CONCEPTS = [
    {
        "name": "scratch",
        "instance_prompt": "a photo of a nut with a scratch",
        "class_prompt": "a photo of a nut",
    },
    {"name": "dent", "instance_prompt": "a photo of a nut with a dent", "class_prompt": "a photo of a nut"},
]


def folder(world: World) -> Path:
    found = world.desk.settings.models_folder
    assert found is not None
    return found


def lora(path: Path, base: str, written: float | None = None, **card: Any) -> Path:
    """A finished LoRA's folder."""
    path.mkdir(parents=True)
    weights = {f"unet.mid.to_q.lora_{part}.weight": np.ones((4, 4), np.float32) for part in "AB"}
    save_file(weights, path / "pytorch_lora_weights.safetensors")
    (path / "model.json").write_text(json.dumps({"base": base, "concepts": CONCEPTS, **card}))
    if written is not None:
        os.utime(path / "model.json", (written, written))
    return path


async def trained(world: World, name: str, who: Person = KIM, **request: Any) -> int:
    """A training that has put its model in place and is recorded; its job."""
    job, _ = await world.store.jobs.add(
        key=f"train {name}", person=who.id, name=who.name, platform="console", place=HERE.to_json(), language="en",
        command="train", request={"save_as": name, "model": "toy-inpaint", **request}, cost=1.0, inputs=[],
        now=world.now[0],
    )  # fmt: skip
    await world.store.jobs.claim(world.now[0])
    card = {"licence": "Apache-2.0", "mode": "defect", "parameters": {"steps": 150, "rank": 8}}
    path = lora(folder(world) / name, "toy-inpaint", world.now[0], **card)
    (path / "samples").mkdir()
    for file in (path / "loss.png", path / "samples" / "scratch.png"):
        file.write_bytes(png())
    await world.store.jobs.finish(job.id, results=[], notes=[], seconds=9.0, now=world.now[0] + 1)
    return job.id


async def there(world: World, text: str, *sent: Sent, who: Person = LEE) -> Message:
    return await world.desk.hear(dataclasses.replace(world.said(text, *sent, who=who), place=THERE))


def names(message: Message) -> list[str]:
    return [model["name"] for model in message.facts["models"]]


async def test_a_model_is_its_trainers_and_the_places_it_was_trained_in(world: World) -> None:
    await trained(world, "secret-nut")
    assert "secret-nut" in names(await world.say("/models"))
    assert "secret-nut" in names(await world.say("/models", who=LEE)), "the same channel"
    assert "secret-nut" not in names(await there(world, "/models"))
    assert "secret-nut" in names(await there(world, "/models", who=KIM))
    assert "secret-nut" in names(await there(world, "/models", who=BOSS))
    no = await there(world, '/inpaint "x" model:secret-nu', Sent("a.png", png()), Sent("m.png", mask()))
    assert no.kind == "refused"
    assert "There is no model `secret-nu`" in no.text
    assert "secret-nut" not in no.text, "not even as the nearest name"
    assert (await there(world, "/models name:secret-nut")).kind == "refused"
    said = '/inpaint "x" model:secret-nut'
    assert (await there(world, said, Sent("a.png", png()), Sent("m.png", mask()), who=KIM)).kind == "accepted"


async def test_it_is_nobody_elses_while_its_training_is_not_recorded_yet(world: World) -> None:
    """The folder is in place and the process died: the row comes at the first look."""
    await world.store.jobs.add(
        key="t", person=KIM.id, name="Kim", platform="console", place=HERE.to_json(), language="en",
        command="train", request={"save_as": "fresh"}, cost=1.0, inputs=[], now=world.now[0],
    )  # fmt: skip
    lora(folder(world) / "fresh-2", "toy-inpaint", world.now[0], name="fresh")  # the name was taken
    assert "fresh-2" not in names(await there(world, "/models"))
    assert "fresh-2" in names(await there(world, "/models", who=KIM))
    lora(folder(world) / "by-hand", "toy-inpaint")
    assert "by-hand" in names(await there(world, "/models")), "what an admin put there is everybody's"


async def test_sharing_with_a_place_and_with_all(world: World) -> None:
    await trained(world, "nut")
    assert "Only" not in (await there(world, "/models action:share name:nut", who=KIM)).text
    assert "nut" in names(await there(world, "/models"))
    await there(world, "/models action:unshare name:nut to:here", who=KIM)
    assert "nut" not in names(await there(world, "/models"))
    await world.say("/models action:share name:nut to:all")
    assert "nut" in names(await there(world, "/models"))
    still = await there(world, "/models action:unshare name:nut to:here", who=KIM)
    assert "everybody may still use it" in still.text
    await world.say("/models action:unshare name:nut to:all")
    assert "nut" not in names(await there(world, "/models"))
    assert "is not yours" in (await world.say("/models action:share name:nut to:all", who=LEE)).text
    assert "to:here" in (await world.say("/models action:share name:nut to:lee")).text


async def test_searching_and_looking_closer(world: World) -> None:
    job = await trained(world, "nut")
    assert names(await world.say("/models DENT lora")) == ["nut"], "by concept and kind"
    assert names(await world.say("/models kim")) == ["nut"], "by who trained it"
    assert names(await world.say("/models 학습")) == ["nut"]
    assert names(await world.say("/models nonesuch")) == []
    listed = (await world.say("/models nut")).text
    assert "`nut` inpaint · Apache-2.0 · LoRA on `toy-inpaint`" in listed
    assert "by Kim" in listed
    shown = await world.say("/models name:nut")
    for told in (
        "**Concepts (2)**",
        "a photo of a nut with a dent",
        "steps 150",
        "Trained by Kim",
        f"#{job}",
    ):
        assert told in shown.text
    assert str(folder(world)) not in shown.text
    assert [file.name for file in shown.files] == ["nut-loss.png", "nut-scratch.png"]
    assert [button.action for button in shown.buttons] == ["try", "compare", "download", "scrap"]
    assert "scrap" not in [b.action for b in (await world.say("/models name:nut", who=LEE)).buttons]
    assert str(folder(world) / "nut") in (await world.say("/models name:nut", who=BOSS)).text


async def test_a_renamed_model_is_found_by_jobs_that_wait(world: World) -> None:
    await trained(world, "nut")
    waiting = await world.say('/inpaint "x" model:nut', Sent("a.png", png()), Sent("m.png", mask()))
    assert "is called `bolt` now" in (await world.say("/models action:rename name:nut to:bolt")).text
    assert (await world.job(waiting.job)).request["model"] == "nut"
    found = catalogue.find("nut", "inpaint", folder(world))
    assert (found.name, found.path) == ("bolt", folder(world) / "bolt")
    assert names(await there(world, "/models")) == [
        n for n in names(await there(world, "/models")) if n != "bolt"
    ]
    assert "bolt" in names(await there(world, "/models", who=KIM)), "it is still its trainer's"
    row = await world.store.models.get("bolt")
    assert row is not None
    assert row.owner == KIM.id
    assert await world.store.models.get("nut") is None
    assert "in use" not in (await world.say("/models action:rename name:bolt to:nut")).text
    assert catalogue.find("bolt", "inpaint", folder(world)).name == "nut"


@pytest.mark.parametrize(
    "to", ["", "../x", ".hidden", "a/b", "nut", "toy", "stable-diffusion-v1-5", "x" * 80]
)
async def test_a_bad_new_name_is_refused_and_changes_nothing(world: World, to: str) -> None:
    await trained(world, "nut")
    no = await world.say(f'/models action:rename name:nut to:"{to}"')
    assert no.kind == "refused", no.text
    assert (folder(world) / "nut" / "model.json").is_file()


async def test_who_may_not_and_when_not(world: World) -> None:
    await trained(world, "nut")
    for action in ("rename name:nut to:bolt", "delete name:nut sure:yes"):
        assert "is not yours" in (await world.say(f"/models action:{action}", who=LEE)).text
        assert "is not yours" in (await world.say(f"/models action:{action.replace('nut', 'toy')}")).text
    job = await world.say('/inpaint "x" model:nut', Sent("a.png", png()), Sent("m.png", mask()))
    busy = await world.say("/models action:delete name:nut sure:yes")
    assert f"needed by job #{job.job}" in busy.text
    await world.store.jobs.pause(job.job)
    assert (await world.say("/models action:delete name:nut sure:yes")).text == busy.text, "a paused one, too"
    await world.store.jobs.resume(job.job)
    await world.store.jobs.claim(world.now[0])
    assert f"#{job.job}" in (await world.say("/models action:rename name:nut to:bolt")).text
    assert "nut" in names(await world.say("/models"))


async def test_deleting_wants_a_second_word(world: World) -> None:
    job = await trained(world, "nut")
    asked = await world.say("/models action:delete name:nut")
    assert "Really delete `nut`" in asked.text
    assert (folder(world) / "nut").is_dir()
    pressed = await world.press("scrap", job)
    assert [b.action for b in pressed.buttons] == ["scrapped"]
    assert "is not yours" in (await world.press("scrapped", job, who=LEE)).text
    assert "is deleted" in (await world.press("scrapped", job)).text
    assert [p.name for p in folder(world).iterdir() if "nut" in p.name] == []
    assert "no longer here" in (await world.press("scrapped", job)).text
    assert await world.store.models.all() == []


async def test_a_base_is_kept_while_loras_need_it(world: World) -> None:
    await trained(world, "nut")
    no = await world.say("/models action:delete name:toy-inpaint sure:yes", who=BOSS)
    assert "is the base of `nut`" in no.text
    assert (folder(world) / "toy-inpaint").is_dir()


async def test_a_download_is_a_zip_of_the_folder(world: World) -> None:
    job = await trained(world, "nut")
    sent = await world.press("download", job, index=1)
    (file,) = sent.files
    assert file.name == "nut.zip"
    with zipfile.ZipFile(file.path) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {
            "nut/model.json",
            "nut/pytorch_lora_weights.safetensors",
            "nut/loss.png",
            "nut/samples/scratch.png",
        }
        weights = (folder(world) / "nut" / "pytorch_lora_weights.safetensors").read_bytes()
        assert archive.read("nut/pytorch_lora_weights.safetensors") == weights
    assert str(folder(world)) not in sent.text
    assert str(folder(world) / "nut") in (await world.say("/models action:download name:nut", who=BOSS)).text
    assert "not trained here" in (await world.say("/models action:download name:toy")).text


async def test_what_a_message_cannot_carry_comes_in_parts(world: World) -> None:
    job = await trained(world, "nut")
    (folder(world) / "nut" / "big.bin").write_bytes(os.urandom(70_000))
    world.outbox.carries = Limits(40_000, 10, 90_000, 1.0, 2000)
    got, part, message = b"", 1, await world.press("download", job, index=1)
    while True:
        assert all(file.path.stat().st_size <= 40_000 for file in message.files)
        assert sum(file.path.stat().st_size for file in message.files) <= 90_000
        got += b"".join(file.path.read_bytes() for file in message.files)
        if not message.buttons:
            break
        (more,) = message.buttons
        part += 1
        assert (more.action, more.index) == ("download", part)
        message = await world.press("download", job, index=part)
    assert part > 1
    with zipfile.ZipFile(io.BytesIO(got)) as archive:
        assert archive.testzip() is None
        assert "nut/big.bin" in archive.namelist()
    assert "There is no part 99" in (await world.say("/models action:download name:nut page:99")).text
    (folder(world) / "nut" / "big.bin").write_bytes(bytes(3_000_000))
    assert "too large for this chat" in (await world.say("/models action:download name:nut")).text


async def test_trying_a_model_fills_in_its_form(world: World) -> None:
    job = await trained(world, "nut")
    said = await world.press("try", job)
    assert said.facts["line"].startswith("/inpaint image:@photo.png mask:@mask.png ")
    assert "model:nut" in said.facts["line"]
    again = await world.say(said.facts["line"], Sent("photo.png", png()), Sent("mask.png", mask()))
    assert again.kind == "accepted", again.text
    assert (await world.job(again.job)).request["prompt"] == CONCEPTS[0]["instance_prompt"]


async def test_comparing_with_the_base_uses_a_photo_of_the_training(world: World) -> None:
    photo, hole = await world.store.blobs.put(png()), await world.store.blobs.put(mask())
    concept = {"name": "scratch", "images": [{"image": photo, "mask": hole}], "normals": [photo]}
    job = await trained(world, "nut", concepts=[concept])
    compared = await world.press("compare", job)
    assert compared.kind == "accepted", compared.text
    request = Compare.from_json((await world.job(compared.job)).request)
    assert request.models == "toy-inpaint, nut"
    assert (request.image, request.mask) == (photo, hole)
    assert [row["label"] for row in request.rows] == ["scratch", "dent"]
    bare = await trained(world, "bolt")
    assert "/compare models:toy-inpaint,bolt" in (await world.press("compare", bare)).text


async def test_a_lora_without_a_base_gets_one_from_an_admin(world: World) -> None:
    file = folder(world) / "style.safetensors"
    save_file(
        {f"lora_unet_mid_to_q.lora_{p}.weight": np.ones((4, 4), np.float32) for p in ("up", "down")}, file
    )
    no = await world.say('/txt2img "x" model:style')
    assert "its base model" in no.text
    assert "Only an admin" in (await world.say("/models action:base name:style to:toy")).text
    unknown = await world.say("/models action:base name:style to:toy", who=BOSS)
    assert "is used on `toy` now" in unknown.text, unknown.text
    assert (await world.say('/txt2img "x" model:style')).kind == "accepted"


async def test_only_finished_models_are_models(world: World) -> None:
    lora(folder(world) / ".training-abc", "toy-inpaint")
    (folder(world) / "empty").mkdir()
    (folder(world) / "card-only").mkdir()
    (folder(world) / "card-only" / "model.json").write_text("{}")
    assert {".training-abc", "empty", "card-only"} & set(names(await world.say("/models", who=BOSS))) == set()
    with pytest.raises(Refusal):
        catalogue.find(".training-abc", None, folder(world))


def test_buttons_after_a_training_say_their_job_in_both_languages() -> None:
    buttons = after_training(42, "ko")
    assert [b.id for b in buttons] == ["ds:try:42:0", "ds:compare:42:0", "ds:download:42:1", "ds:scrap:42:0"]
    assert all(b.label != e.label for b, e in zip(buttons, after_training(42, "en"), strict=True))
