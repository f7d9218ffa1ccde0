"""Decode final latents to images, in batches of a fixed size; on a GPU beside the denoising, on a stream of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from render.models import Autoencoder

__all__ = ["Decoder"]

ROWS_MAX, PIXELS_MAX = 8, 2**21  # of the images that a GPU decodes together: 8 of 512² or less, 2 of 1024²


class Decoder:
    """The decoder of one pipeline. May be used by one thread while another denoises.

    `rows` is the number of images decoded together, for every size of image; None leaves it to `rows_at`. The last bits of
    an image may depend on it, as they do on the batch size of denoising.
    """

    def __init__(self, autoencoder: Autoencoder, device: torch.device, rows: int | None = None) -> None:
        self._autoencoder, self._device, self.rows = autoencoder, device, rows
        self._stream = _new_stream(device) if device.type == "cuda" else None
        self._computed = WeakTensorKeyDictionary()  # final latents → the event at which a GPU has computed them

    def rows_at(self, width: int, height: int, tiled: bool) -> int:
        """Return the number of images of a size in pixels that are decoded together: on a CPU and in tiles 1."""
        if self.rows is not None:
            return self.rows
        return 1 if tiled or self._stream is None else min(ROWS_MAX, max(1, PIXELS_MAX // (width * height)))

    def queued(self, latents: Tensor) -> Tensor:
        """Return final latents whose computation was just queued; `decode` will wait for that and nothing queued later."""
        if self._stream is not None:
            self._computed[latents] = torch.cuda.current_stream(self._device).record_event()
        return latents

    @torch.inference_mode()
    def decode(self, latents: Sequence[Tensor], tiled: bool) -> list[NDArray[np.uint8] | ValueError]:
        """Return the image `[height, width, 3]` of each of some final latents `[1, C, H, W]`, all of one shape.

        In the place of an image stands a ValueError if its latents or its pixels are not finite; it does not touch the
        others. What the decoder itself raises, such as `torch.OutOfMemoryError`, is raised for all: nothing is decoded.

        Latents are taken `rows_at` at a time; the last batch is filled with copies of its last latents, which are dropped,
        so that the decoder sees one batch size. Copies cost as much as images: collect `rows_at` latents before a call, and
        call with fewer only when no more come. The calling thread waits for the images without holding the interpreter's
        lock, and without waiting for batches that were queued after these latents.
        """
        factor = self._autoencoder.factor
        rows = self.rows_at(latents[0].shape[-1] * factor, latents[0].shape[-2] * factor, tiled) if latents else 1
        images: list[NDArray[np.uint8] | ValueError] = []
        for first in range(0, len(latents), rows):
            images += self._decode_batch(latents[first : first + rows], rows, tiled)
        return images

    def _decode_batch(self, latents: Sequence[Tensor], rows: int, tiled: bool) -> list[NDArray[np.uint8] | ValueError]:
        if self._stream is None:
            return _results(latents, *self._compute(latents, rows, tiled))
        with torch.cuda.stream(self._stream):
            for one in latents:
                computed: torch.cuda.Event | None = self._computed.get(one)  # type: ignore[no-untyped-call]
                self._stream.wait_event(computed or torch.cuda.default_stream(self._device).record_event())
                one.record_stream(self._stream)  # its memory is not used anew before this stream is done with it
            pinned = [_to_pinned(tensor) for tensor in self._compute(latents, rows, tiled)]
            # Blocking: the thread that waits sleeps instead of spinning.
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record(self._stream)
        done.synchronize()
        return _results(latents, *pinned)

    def _compute(self, latents: Sequence[Tensor], rows: int, tiled: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return images `[n, height, width, 3]` in uint8, which latents are finite `[n]`, and which images are `[n]`."""
        batch = torch.cat([*latents, *[latents[-1]] * (rows - len(latents))])
        images, finite = self._autoencoder.decode(batch, tiled)
        count = len(latents)
        return images[:count], torch.isfinite(batch[:count]).flatten(1).all(1), finite[:count]


def _new_stream(device: torch.device) -> torch.cuda.Stream:
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


def _to_pinned(tensor: Tensor) -> Tensor:
    """Queue a copy to pinned memory of the CPU and return it; it has its values once the stream has come so far."""
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)


def _results(
    latents: Sequence[Tensor], images: Tensor, finite_latents: Tensor, finite_images: Tensor
) -> list[NDArray[np.uint8] | ValueError]:
    """Return the images, copied from the tensors, which are on the CPU, or what is wrong with them."""
    results: list[NDArray[np.uint8] | ValueError] = []
    for place in range(len(latents)):
        if not finite_latents[place]:
            results.append(ValueError("final latents: required finite values, got NaN or infinity"))
        elif not finite_images[place]:
            results.append(ValueError("decoded image: required finite values, got NaN or infinity"))
        else:
            results.append(images[place].numpy().copy())
    return results
