"""Memory: ten thousand random events stay within both budgets, evict nobody's pieces and lose nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import shapes
import torch
from memory_world import DEVICE, HOST, SHELF, Lora, World

from engines.engine import Busy
from engines.models import moving
from engines.models.host import HostCache
from engines.models.loading import folder_blueprint, import_libraries
from engines.models.memory import Lease, Models
from engines.models.room import twice
from engines.words import Refusal


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
