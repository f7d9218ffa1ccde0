"""Prompts held, and text encoders that move as rarely as that allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import render.engine.prompts
from render.core.blend import Prompt, mix
from render.core.recipe import Recipe
from render.engine.prompts import PromptCache, PromptKey
from render.engine.renderer import Renderer

SIZE = 64  # bytes of a prompt's embeddings


@dataclass
class Encoder:
    """A text encoder that notes its moves."""

    events: list[str]
    device: torch.device = field(default_factory=lambda: torch.device("meta"))

    def to(self, device: torch.device) -> None:
        self.device = device
        self.events.append("in" if device.type == "meta" else "out")


@dataclass
class Setting:
    """A cache of prompts on a device that is no CPU; `short` is what its memory is read as."""

    short: bool = True
    events: list[str] = field(default_factory=list)  # texts encoded, and moves of the encoder

    def __post_init__(self) -> None:
        self.encoder = Encoder(self.events)
        self.cache = PromptCache(self.encode, lambda: [self.encoder], torch.device("meta"))

    def encode(self, text: str, negative: bool, syntax: str) -> dict[str, Tensor]:
        assert self.encoder.device.type == "meta", "encoded while the encoder was away"
        if text == "bad":
            raise ValueError("bad prompt")
        self.events.append(text)
        return {"embeddings": torch.zeros(SIZE // 4, device="meta")}


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    setting = Setting()
    monkeypatch.setattr(render.engine.prompts, "memory_is_short", lambda device: setting.short)
    to = torch.Tensor.to

    def moved(tensor: Tensor, *to_what: Any, **options: Any) -> Tensor:
        return torch.zeros(tensor.shape) if tensor.is_meta and to_what == ("cpu",) else to(tensor, *to_what, **options)

    monkeypatch.setattr(torch.Tensor, "to", moved)  # a meta tensor has no values to move to a CPU
    return setting


def keys(*texts: str) -> list[PromptKey]:
    return [(text, False, "plain") for text in texts]


def test_units_with_the_same_prompts_move_nothing(setting: Setting) -> None:
    for _ in range(5):
        setting.cache.hold(keys("a", "b", "a"))
    for text in "abba":
        setting.cache.get((text, False, "plain"))
    assert setting.events == ["a", "b", "out"]


def test_a_unit_s_new_prompts_take_one_move_in_and_out(setting: Setting) -> None:
    setting.cache.hold(keys("a", "b"))
    setting.cache.hold(keys("b", "c", "d"))
    assert setting.events == ["a", "b", "out", "in", "c", "d", "out"]


def test_prompts_of_following_units_are_encoded_along(setting: Setting) -> None:
    """Two moves for three units."""
    setting.cache.hold(keys("a"), keys("b", "a", "c"))
    setting.cache.hold(keys("b"), keys("c"))
    setting.cache.hold(keys("c"))
    assert setting.events == ["a", "b", "c", "out"]


def test_nothing_is_encoded_ahead_where_the_encoders_stay(setting: Setting) -> None:
    """It would only keep the first frames waiting."""
    setting.short = False
    setting.cache.hold(keys("a"), keys("b"))
    setting.cache.hold(keys("b"))
    assert setting.events == ["a", "b"]


def test_memory_that_is_short_only_later(setting: Setting) -> None:
    setting.short = False
    setting.cache.hold(keys("a"))
    setting.short = True
    setting.cache.hold(keys("a"))
    assert setting.events == ["a"]  # nothing to encode: nothing moves
    setting.cache.hold(keys("b"))
    assert setting.events == ["a", "b", "out"]


def test_a_negative_prompt_is_another_prompt_and_so_is_one_with_weights(setting: Setting) -> None:
    setting.cache.hold([("a", False, "plain"), ("a", True, "plain"), ("a", True, "weighted")])
    assert setting.events == ["a", "a", "a", "out"]


def test_more_prompts_than_the_device_holds_are_kept_on_the_cpu(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit with many prompts of its own: each is encoded once, and no frame brings the encoders back."""
    monkeypatch.setattr(render.engine.prompts, "EMBEDDINGS_BYTES", 2 * SIZE)
    setting.cache.hold(keys(*"abcdef"))
    assert len(setting.cache) == 2
    for text in "abcdef":
        assert setting.cache.get((text, False, "plain"))["embeddings"].is_meta
    assert setting.events == [*"abcdef", "out"]
    assert len(setting.cache) == 2


def test_the_cpu_s_memory_is_bounded_too(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies ahead does not push out what is needed now."""
    monkeypatch.setattr(render.engine.prompts, "EMBEDDINGS_BYTES", 2 * SIZE)
    monkeypatch.setattr(render.engine.prompts, "SPILLED_BYTES", 4 * SIZE)
    setting.cache.hold(keys("a", "b"), keys(*"cdefghij"))
    assert setting.events == [*"abcd", "out"]
    assert all(key in setting.cache for key in keys(*"abcd"))
    for number in range(100):
        setting.cache.hold(keys(f"p{number}"))
    assert sum(key in setting.cache for key in keys(*(f"p{number}" for number in range(100)))) == 6


def test_a_prompt_that_fails_is_its_frames_error(setting: Setting) -> None:
    """The prompts behind it are encoded, and the encoders leave."""
    setting.cache.hold(keys("a", "bad", "b"))
    assert setting.events == ["a", "b", "out"]
    with pytest.raises(ValueError, match="bad prompt"):
        setting.cache.get(("bad", False, "plain"))
    assert setting.events == ["a", "b", "out", "in", "out"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_is_no_prompt_s_error(setting: Setting, error: type[Exception]) -> None:
    def encode(text: str, negative: bool, syntax: str) -> dict[str, Tensor]:
        raise error

    cache = PromptCache(encode, lambda: [setting.encoder], torch.device("meta"))
    with pytest.raises(error):
        cache.hold(keys("a"))


def test_the_renderer_asks_for_what_its_recipes_need(
    renderer: Renderer, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[PromptKey]] = []
    monkeypatch.setattr(renderer._prompts, "hold", lambda *both: asked.extend(map(list, both)))
    walk = mix("slerp", Prompt("a"), Prompt("b"), 0.5)
    unit = [make_recipe(prompt=walk, negative_prompt=Prompt("n")), make_recipe(prompt=Prompt("c"), guidance=1.0)]
    renderer.prepare(unit, [make_recipe(prompt=Prompt("d"), negative_prompt=Prompt("m"))])
    own = [("a", False, "plain"), ("b", False, "plain"), ("n", True, "plain"), ("c", False, "plain")]
    assert asked == [own, [("d", False, "plain"), ("m", True, "plain")]]


@pytest.mark.parametrize(
    ("free", "reserved", "allocated", "short"),
    [
        (80, 10, 10, False),
        (20, 10, 10, True),
        (10, 80, 20, False),  # kept by torch's allocator for later, not used
        (4, 90, 85, True),
    ],
)
def test_memory_kept_for_later_is_not_short(
    monkeypatch: pytest.MonkeyPatch, free: int, reserved: int, allocated: int, short: bool
) -> None:
    from render.engine.device import memory_is_short

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated)
    assert memory_is_short(torch.device("cuda")) is short
    assert memory_is_short(torch.device("cpu")) is False
