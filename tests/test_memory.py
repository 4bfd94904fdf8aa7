"""Memory: ten thousand random events stay within both budgets, evict nobody's pieces and lose nothing."""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import shapes
import torch

from engines import devices
from engines.engine import Busy
from engines.models import moving
from engines.models.host import HostCache
from engines.models.loading import folder_blueprint, import_libraries
from engines.models.memory import Blueprint, Lease, Models, Piece
from engines.models.room import twice
from engines.words import Refusal

# model → piece → size: fine-tunes share a VAE and words; "+" is a LoRA on the base's UNet and words
SHELF: dict[str, dict[str, int]] = {
    "base": {"words": 20, "vae": 10, "unet-base": 50},
    "tune": {"words": 20, "vae": 10, "unet-tune": 50},
    "other": {"words2": 30, "vae2": 10, "unet2": 40},
    "small": {"vae": 10, "unet-small": 5},
    "huge": {"unet-huge": 500},
    "base+a": {"words": 20, "vae": 10, "unet-base": 50, "lora-a": 3},
    "base+b": {"words": 20, "vae": 10, "unet-base": 50, "lora-b": 4},
}
DEVICE, HOST = 130, 100


class Weights:
    """Stands for tensors; whoever refers to it holds its bytes."""

    def __init__(self, hash: str, size: int, place: str) -> None:
        self.hash, self.size, self.place = hash, size, place


class Lora(Weights):
    """Counts where it is put on."""

    on = False

    def attach(self, things: Mapping[str, Any]) -> None:
        assert {"unet-base", "words"} <= {thing.hash for thing in things.values()}
        self.on = True

    def detach(self) -> None:
        assert self.on
        self.on = False


@dataclass
class World:
    """Plain Python things as weights, counted by who really refers to them."""

    rows: dict[str, dict[str, int]] = field(default_factory=lambda: SHELF)
    chance: Callable[[], float] = lambda: 1.0  # below 0.05: what is being made finds no memory
    reads: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    alive: weakref.WeakSet[Weights] = field(default_factory=weakref.WeakSet)

    def host(self, budget: int) -> HostCache:
        return HostCache(budget, self.up, self.down)

    def models(self, host: HostCache | None = None, *, budget: int = DEVICE, device: str = "one") -> Models:
        return Models(
            lambda name, kind: self.plan(name, device), budget=budget, device=device, dtype="half", host=host
        )

    def plan(self, name: str, device: str) -> Blueprint:
        sizes = self.rows[name]
        return Blueprint(name, name, tuple(self._piece(hash, size, device) for hash, size in sizes.items()))

    def _piece(self, hash: str, size: int, device: str) -> Piece:
        if hash.startswith("lora"):
            return Piece(
                "lora", hash, size, lambda: self._made(hash, size, device, Lora), on=("unet-base", "words")
            )

        def read() -> Weights:
            self.reads.append(hash)
            return self._made(hash, size, "reading")

        return Piece(hash.rstrip("2"), hash, size, lambda: self.up(read(), device), read=read)

    def up(self, thing: Weights, device: str) -> Weights:
        self.copies.append(thing.hash)
        return self._made(thing.hash, thing.size, device)

    def down(self, thing: Weights) -> Weights:
        return self._made(thing.hash, thing.size, "host")

    def _made(self, hash: str, size: int, place: str, kind: type[Weights] = Weights) -> Weights:
        if self.chance() < 0.05:
            raise MemoryError
        made = kind(hash, size, place)
        self.alive.add(made)
        return made

    def taken(self, place: str) -> int:
        """Bytes that somebody really refers to there."""
        return sum(thing.size for thing in self.alive if thing.place == place)


class Life:
    """Random events on two devices that share one host cache."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(chance=self.dice.random)
        self.host = self.world.host(HOST)
        self.devices = {name: self.world.models(self.host, device=name) for name in ("one", "two")}
        self.leases: list[tuple[str, str, Lease]] = []  # device, model, lease
        self.happened: dict[str, int] = {}
        self.events = (
            [self.lease] * 6
            + [self.close] * 5
            + [self.prefetch] * 3
            + [self.forget, self.clear, self.empty, self.cancel]
        )

    def step(self) -> None:
        event, device = self.dice.choice(self.events), self.dice.choice(sorted(self.devices))
        said = event(device, self.dice.choice(sorted(SHELF)))
        self.happened[said] = self.happened.get(said, 0) + 1
        self.check()

    def lease(self, device: str, name: str) -> str:
        models = self.devices[device]
        try:
            self.leases.append((device, name, models.lease(name, "txt2img")))
        except Busy:
            return "busy"
        except Refusal:
            assert name == "huge"
            return "too large"
        except MemoryError:
            return "out of memory twice"
        return "lease of a LoRA" if "+" in name else "lease"

    def close(self, device: str, name: str) -> str:
        if not self.leases:
            return "nothing to close"
        self.leases.pop(self.dice.randrange(len(self.leases)))[2].close()
        return "close"

    def prefetch(self, device: str, name: str, wanted: Callable[[], bool] = lambda: True) -> str:
        models, before = self.devices[device], self._leased()
        models.prepare(name, "txt2img")
        try:
            models.prefetch(name, "txt2img", wanted)
        except MemoryError:
            return "prefetch out of memory"
        assert self._leased() == before
        return "prefetch"

    def cancel(self, device: str, name: str) -> str:
        """Nobody wants it from the second question on, which is asked when a piece was read."""
        before, asked = set(self.host._kept), iter([True, False])
        said = self.prefetch(device, name, lambda: next(asked, False))
        assert set(self.host._kept) <= before, "a cancelled prefetch left something"
        return f"cancelled {said}"

    def forget(self, device: str, name: str) -> str:
        hash = self.dice.choice(list(SHELF[name]))
        self.devices[device].forget(hash)
        assert self.devices[device].warm(hash) == ((device, hash) in self._leased()), (
            "gone unless it is leased"
        )
        return "forget"

    def clear(self, device: str, name: str) -> str:
        self.devices[device].clear()
        assert {hash for hash in self._there(device)} == {h for d, h in self._leased() if d == device}
        return "clear"

    def empty(self, device: str, name: str) -> str:
        self.host.clear()
        assert self.host.used == 0
        return "host cleared"

    def _leased(self) -> set[tuple[str, str]]:
        return {(device, hash) for device, name, _ in self.leases for hash in SHELF[name]}

    def _there(self, device: str) -> list[str]:
        return [hash for name in SHELF for hash in SHELF[name] if self.devices[device].warm(hash)]

    def check(self) -> None:
        self.host.check_integrity()
        assert self.world.taken("host") == self.host.used <= HOST
        assert self.world.taken("reading") == 0, "what was read is held by nobody"
        for device, models in self.devices.items():
            models.check_integrity()
            assert self.world.taken(device) == models.used <= DEVICE
        for device, hash in self._leased():
            assert self.devices[device].warm(hash), f"{hash} was leased and is gone"
        for _, name, lease in self.leases:
            assert {thing.hash for thing in lease.things.values()} == set(SHELF[name])
        for thing in self.world.alive:
            assert not isinstance(thing, Lora) or thing.on, "in memory, so it is on its base"


@pytest.mark.parametrize("seed", range(2))
def test_ten_thousand_random_events_never_exceed_a_budget_nor_lose_anything(seed: int) -> None:
    life = Life(seed)
    for _ in range(10_000):
        life.step()
    rare = (
        "busy",
        "too large",
        "out of memory twice",
        "prefetch",
        "cancelled prefetch",
        "lease of a LoRA",
        "clear",
    )
    assert all(life.happened.get(what, 0) >= 20 for what in rare), life.happened
    for _, _, lease in life.leases:
        lease.close()
    for models in life.devices.values():
        models.clear()
    life.host.clear()
    assert len(life.world.alive) == 0, "a leak"


# ------------------------------------------------------------------ the host cache


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


# ------------------------------------------------------------------ out of memory


def test_out_of_memory_evicts_what_is_idle_and_tries_once_more() -> None:
    world = World()
    models = world.models(budget=500)
    models.lease("other", "txt2img").close()
    falls = iter([0.0])  # the first thing that is made finds no memory
    world.chance = lambda: next(falls, 1.0)
    models.lease("base", "txt2img").close()
    assert not models.warm("unet2"), "the idle one made room"
    assert models.warm("unet-base")


def test_out_of_memory_twice_is_the_jobs_end_and_leaves_no_lease() -> None:
    world = World(chance=lambda: 0.0)
    models = world.models()
    with pytest.raises(MemoryError):
        models.lease("base", "txt2img")
    assert models.held() == []


def test_other_errors_are_not_tried_again() -> None:
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        twice(broken, lambda kind: None)
    assert calls == [1]


# ------------------------------------------------------------------ real modules


def test_real_modules_come_back_from_the_host_cache_with_the_same_numbers(tmp_path: Path) -> None:
    """Through the very copies that a GPU gets, onto the CPU."""
    import_libraries()
    folder = shapes.save(tmp_path / "m", "sd1")
    plan = folder_blueprint("m", folder, "cpu", "float32")
    host = HostCache(10**9, moving.to_device, moving.to_host)
    models = Models(lambda name, kind: plan, host=host)
    with models.lease("m", "txt2img") as lease:
        unet = lease.parts.unet
        before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
        seen = torch.randn(2, 4, 8, 8), torch.tensor([10.0, 500.0]), torch.randn(2, 5, 32)
        with torch.inference_mode():
            said = unet(seen[0], seen[1], encoder_hidden_states=seen[2]).sample
    models.clear()
    assert models.used == 0
    with models.lease("m", "txt2img") as lease:
        again = lease.parts.unet
        assert again is not unet
        assert not again.training
        assert not next(again.parameters()).requires_grad
        assert not next(again.parameters()).is_inference()
        assert all(torch.equal(tensor, before[name]) for name, tensor in again.state_dict().items())
        with torch.inference_mode():
            assert torch.equal(again(seen[0], seen[1], encoder_hidden_states=seen[2]).sample, said)
