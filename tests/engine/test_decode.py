"""Latents to images: batches of a fixed size, what is not finite, how levels are rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from diffusers.image_processor import VaeImageProcessor
from numpy.typing import NDArray
from torch import Tensor
from waits import META, no_waits

import render.engine.decode
from render.engine.batch import Batch
from render.engine.decode import Decoder
from render.engine.renderer import Renderer
from render.models.families.parts import Autoencoder

CPU = torch.device("cpu")
BAD = [float("nan"), float("inf"), float("-inf")]


class FakeVae:
    """An autoencoder of factor 8, with a function from latents to images."""

    config = FrozenDict(scaling_factor=1.0, block_out_channels=(1, 1, 1, 1))
    dtype = torch.float32

    def __init__(self, images: Callable[[Tensor], Tensor]) -> None:
        self._images = images
        self.batches: list[int] = []

    def decode(self, latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        self.batches.append(len(latents))
        return (self._images(latents),)


class Sized(Decoder):
    """A decoder of batches of one size."""

    def __init__(self, autoencoder: Autoencoder, device: torch.device, rows: int = 1) -> None:
        super().__init__(autoencoder, device)
        self._size = Batch.full(rows)

    def decode(
        self, latents: Sequence[Tensor], tiled: bool, batch: Batch | None = None
    ) -> list[NDArray[np.uint8] | ValueError]:
        return super().decode(latents, tiled, batch or self._size)


def made(images: Callable[[Tensor], Tensor], rows: int = 1) -> tuple[Decoder, FakeVae]:
    vae: Any = FakeVae(images)
    return Sized(Autoencoder(vae), CPU, rows), vae


def grey(latents: Tensor) -> Tensor:
    """Images of one colour: the mean of their latents."""
    return latents.mean((1, 2, 3)).reshape(-1, 1, 1, 1).expand(-1, 3, 64, 64)


def latents_of(*levels: float) -> list[Tensor]:
    return [torch.full((1, 4, 8, 8), float(level)) for level in levels]


def only(images: Sequence[NDArray[np.uint8] | ValueError]) -> list[int]:
    """The level of each image."""
    levels = []
    for image in images:
        assert isinstance(image, np.ndarray), image
        assert (image.shape, image.dtype.name, image.flags.c_contiguous) == ((64, 64, 3), "uint8", True)
        levels.append(int(image[0, 0, 0]))
    return levels


@pytest.mark.parametrize(("rows", "batches"), [(1, [1] * 5), (2, [2] * 3), (4, [4] * 2), (5, [5]), (8, [8])])
def test_the_decoder_sees_one_batch_size(rows: int, batches: list[int]) -> None:
    decoder, vae = made(grey, rows)
    assert only(decoder.decode(latents_of(-1, -0.5, 0, 0.5, 1), tiled=False)) == [0, 64, 128, 191, 255]
    assert vae.batches == batches


def test_images_do_not_share_memory() -> None:
    decoder, _ = made(grey, 2)
    first, second = decoder.decode(latents_of(0, 1), tiled=False)
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    assert (first.base, second.base) == (None, None)


def test_no_latents_are_no_images() -> None:
    decoder, vae = made(grey)
    assert decoder.decode([], tiled=False) == []
    assert vae.batches == []


def test_images_decoded_together_are_those_decoded_alone(renderer: Renderer) -> None:
    latents = [torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    channels = renderer._family.autoencoder.latent_shape(96, 64)[1]
    latents = [one.repeat(1, channels // 4, 1, 1) for one in latents]
    four = Sized(renderer._family.autoencoder, CPU, rows=4)
    for one, same, near in zip(
        latents, renderer.decode(latents, tiled=False), four.decode(latents, False), strict=True
    ):
        (alone,) = renderer.decode([one], tiled=False)
        assert isinstance(alone, np.ndarray)
        assert isinstance(near, np.ndarray)
        assert np.array_equal(alone, np.asarray(same))
        assert np.abs(alone.astype(int) - near).max() <= 1


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("bad", BAD)
def test_latents_that_are_not_finite_are_refused(bad: float, rows: int) -> None:
    """They alone, whatever stands beside them."""
    decoder, _ = made(lambda latents: grey(latents).nan_to_num(0, 0, 0), rows)
    latents = latents_of(0, 1, -1)
    latents[1][0, 1, 2, 3] = bad
    first, spoilt, last = decoder.decode(latents, tiled=False)
    assert isinstance(spoilt, ValueError)
    assert str(spoilt).startswith("final latents: required finite values")
    assert only([first, last]) == [128, 0]


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("bad", BAD)
def test_an_image_that_is_not_finite_is_refused(bad: float, rows: int) -> None:
    decoder, _ = made(lambda latents: torch.where(grey(latents) == 1, bad, grey(latents)), rows)
    first, spoilt, last = decoder.decode(latents_of(0, 1, -1), tiled=False)
    assert isinstance(spoilt, ValueError)
    assert str(spoilt).startswith("decoded image: required finite values")
    assert only([first, last]) == [128, 0]


def test_what_the_decoder_raises_is_raised() -> None:
    def fail(latents: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        made(fail)[0].decode(latents_of(0), tiled=False)


def test_levels_are_rounded_as_diffusers_rounds_them() -> None:
    """Truncation would darken by half a level; values outside -1 … 1 are clipped."""
    image = torch.linspace(-1.2, 1.2, 3 * 64 * 64).reshape(1, 3, 64, 64)
    (ours,) = made(lambda latents: image)[0].decode(latents_of(0), tiled=False)
    (theirs,) = VaeImageProcessor().postprocess(image, output_type="pil")
    assert isinstance(ours, np.ndarray)
    assert np.array_equal(ours, np.asarray(theirs))
    assert (ours.min(), ours.max()) == (0, 255)
    assert not np.array_equal(ours, ((image[0] / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).numpy())


def test_decoding_waits_for_nothing_before_its_copy() -> None:
    vae: Any = FakeVae(grey)
    with no_waits():
        images, finite = Autoencoder(vae).decode(torch.zeros(2, 4, 8, 8, device=META), tiled=False)
    assert (images.shape, images.dtype, finite.shape) == ((2, 64, 64, 3), torch.uint8, (2,))


def test_in_tiles_images_are_decoded_one_by_one() -> None:
    decoder, vae = made(grey, 4)
    vae.tiled_decode = vae.decode  # type: ignore[attr-defined]
    assert only(decoder.decode(latents_of(-1, 1), tiled=True)) == [0, 255]
    assert vae.batches == [1, 1]


def test_unsafe_places_of_the_decoder_hold_copies() -> None:
    def erring(latents: Tensor) -> Tensor:
        images = grey(latents).clone()
        images[1] = 0.5
        return images

    decoder, vae = made(erring)
    safe = Batch(3, (0, 2))
    assert only(decoder.decode(latents_of(-1, 0, 1), tiled=False, batch=safe)) == [0, 128, 255]
    assert vae.batches == [3, 3]


def test_on_a_gpu_decoding_has_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With streams and events that note what is asked of them: a GPU is not at hand everywhere."""
    asked: list[str] = []

    class Event:
        def __init__(self, name: str = "done", blocking: bool = False) -> None:
            self.name, self.blocking = name, blocking

        def record(self, stream: Stream) -> None:
            asked.append(f"{stream.name} records {self.name}")

        def synchronize(self) -> None:
            assert self.blocking
            asked.append(f"host waits for {self.name}")

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def record_event(self) -> Event:
            return Event(f"{self.name} at {len(asked)}")

        def wait_event(self, event: Event) -> None:
            asked.append(f"{self.name} waits for {event.name}")

    @contextmanager
    def entered(stream: Stream) -> Iterator[None]:
        asked.append(f"enter {stream.name}")
        yield
        asked.append(f"leave {stream.name}")

    def pinned(tensor: Tensor) -> Tensor:
        asked.append("copy to pinned memory")
        return tensor.clone()

    main = Stream("main")
    monkeypatch.setattr(render.engine.decode, "_new_stream", lambda device: Stream("own"))
    monkeypatch.setattr(render.engine.decode, "_to_pinned", pinned)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: asked.append(f"kept for {stream.name}"))
    vae: Any = FakeVae(lambda latents: asked.append("decode") or grey(latents))  # type: ignore[func-returns-value]
    decoder = Decoder(Autoencoder(vae), torch.device("cuda"))
    known, unknown = latents_of(-1, 1)
    assert decoder.queued(known) is known
    asked.append("more work is queued")
    assert only(decoder.decode([known, unknown], False, Batch.full(2))) == [0, 255]
    assert asked == [
        "more work is queued",
        "enter own",
        "own waits for main at 0",
        "kept for own",
        "own waits for main at 4",
        "kept for own",
        "decode",
        *["copy to pinned memory"] * 3,
        "own records done",
        "leave own",
        "host waits for done",
    ]
