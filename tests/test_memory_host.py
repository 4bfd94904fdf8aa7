"""The host cache: what leaves a device comes back without the disk, and what is fetched ahead is read once."""

from __future__ import annotations

import random
import threading

import pytest
from memory_world import HOST, SHELF, Weights, World

from engines import devices
from engines.models.memory import Models


def test_what_left_the_device_comes_back_with_one_copy_a_piece_and_no_read() -> None:
    world = World()
    models = world.models(world.host(500), budget=80)
    for name in ("base", "other"):
        models.lease(name, "txt2img").close()
    assert not models.warm("unet-base")
    world.reads.clear()
    world.copies.clear()
    models.lease("base", "txt2img").close()
    assert world.reads == []
    assert sorted(world.copies) == sorted(SHELF["base"])


def test_what_is_about_to_be_taken_does_not_make_way_for_what_leaves() -> None:
    """A cache that has no room for both models that take turns: one of them never sees the disk again."""
    world = World()
    models = world.models(world.host(100), budget=80)
    for _ in range(3):
        for name in ("base", "other"):
            models.lease(name, "txt2img").close()
    assert [hash for hash in world.reads if hash in SHELF["base"]] == list(SHELF["base"])


def test_what_a_device_has_goes_before_what_it_has_not() -> None:
    world = World()
    host = world.host(180)
    one, two = world.models(host, budget=80), world.models(host, device="two")
    for name in ("base", "other"):
        one.lease(name, "txt2img").close()  # "base" has left the device again, "other" is on it
    two.prepare("tune", "txt2img")
    two.prefetch("tune", "txt2img")
    world.reads.clear()
    one.lease("base", "txt2img").close()
    assert world.reads == []


def test_without_a_host_cache_every_switch_reads_the_disk() -> None:
    world = World()
    models = world.models(budget=80)
    for name in ("base", "other", "base"):
        models.lease(name, "txt2img").close()
    assert world.reads.count("unet-base") == 2


def test_two_devices_share_what_is_in_the_host_cache() -> None:
    world = World()
    host = world.host(500)
    one, two = world.models(host, device="one"), world.models(host, device="two")
    with one.lease("base", "txt2img") as here, two.lease("base", "txt2img") as there:
        assert world.reads == list(SHELF["base"])
        assert here.parts.unet is not there.parts.unet or here.parts.unet is None
        assert {thing.place for thing in there.things.values()} == {"two"}


def test_other_number_formats_are_other_pieces() -> None:
    world = World()
    host = world.host(500)
    half, full = world.models(host), world.models(host)
    full.dtype = "float32"
    half.lease("base", "txt2img").close()
    full.lease("base", "txt2img").close()
    assert len(world.reads) == 2 * len(SHELF["base"])


def test_a_prefetched_model_is_read_once_and_the_device_only_copies() -> None:
    world = World()
    models = world.models(world.host(500))
    models.prepare("base", "txt2img")
    models.prefetch("base", "txt2img")
    assert not models.ready("base", "txt2img")
    assert world.copies == []
    world.reads.clear()
    models.lease("base", "txt2img").close()
    assert models.ready("base", "txt2img")
    assert world.reads == []


def test_a_prefetch_and_the_device_read_one_piece_once() -> None:
    world = World()
    reading, go_on = threading.Event(), threading.Event()
    host = world.host(500)

    def slow() -> Weights:
        reading.set()
        assert go_on.wait(60)
        world.reads.append("x")
        return Weights("x", 5, "reading")

    ahead = threading.Thread(target=lambda: host.fetch(("x", "half"), 5, slow))
    ahead.start()
    assert reading.wait(60)
    got: list[Weights] = []
    device = threading.Thread(target=lambda: got.append(host.take(("x", "half"), 5, slow, "one")))
    device.start()
    assert host.used == 5, "what is on its way counts"
    go_on.set()
    for thread in (ahead, device):
        thread.join(60)
    assert world.reads == ["x"]
    assert got[0].place == "one"


def test_threads_that_prefetch_and_devices_that_switch_get_along() -> None:
    """Each device on its own thread, prefetches beside them, for as many rounds as show a race."""
    world = World()
    host = world.host(HOST)
    devices = [world.models(host, device=name) for name in ("one", "two")]
    broken: list[BaseException] = []

    def live(models: Models, seed: int, ahead: bool) -> None:
        dice = random.Random(seed)
        try:
            for _ in range(400):
                name = dice.choice([name for name in SHELF if name != "huge"])
                if ahead:
                    models.prepare(name, "txt2img")
                    models.prefetch(name, "txt2img", lambda: dice.random() < 0.9)
                else:
                    models.lease(name, "txt2img").close()
                    models.check_integrity()
                host.check_integrity()
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=live, args=(models, i, i > 1)) for i, models in enumerate(devices * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert broken == []
    assert host._coming == {}
    assert all(kept.users == 0 for kept in host._kept.values())


def test_main_memory_is_never_filled_with_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_memory", lambda: 16 * 10**9)
    assert devices.host_budget(8 * 10**9) == 4 * 10**9
    assert devices.host_budget(10**9) == 10**9
    assert devices.host_budget(0) == 0
