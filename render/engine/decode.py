"""Decode final latents to images, in batches of a fixed size; on a GPU beside the denoising, on a stream of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from render.engine.batch import Batch
from render.models import Autoencoder

__all__ = ["Decoder"]

SINGLE = Batch.full(1)


class Decoder:
    """The decoder of one pipeline. May be used by one thread while another denoises."""

    def __init__(self, autoencoder: Autoencoder, device: torch.device) -> None:
        self._autoencoder, self._device = autoencoder, device
        self._stream = _new_stream(device) if device.type == "cuda" else None
        self._computed = WeakTensorKeyDictionary()  # final latents → the event at which a GPU has computed them

    def queued(self, latents: Tensor) -> Tensor:
        """Return final latents whose computation was just queued; `decode` will wait for that and nothing queued later."""
        if self._stream is not None:
            self._computed[latents] = torch.cuda.current_stream(self._device).record_event()
        return latents

    @torch.inference_mode()
    def decode(
        self, latents: Sequence[Tensor], tiled: bool, batch: Batch = SINGLE
    ) -> list[NDArray[np.uint8] | ValueError]:
        """Return the image `[height, width, 3]` of each of some final latents `[1, C, H, W]`, all of one shape.

        In the place of an image stands a ValueError if its latents or its pixels are not finite; it does not touch the
        others. What the decoder itself raises, such as `torch.OutOfMemoryError`, is raised for all: nothing is decoded.

        The decoder sees calls of `batch.rows` latents; those that hold no image are filled with copies, which are dropped.
        In tiles it sees one. The last bits of an image may depend on the batch size, as they do when denoising. Copies cost
        as much as images: collect `batch.capacity` latents before a call, and call with fewer only when no more come in
        time. The calling thread waits for the images without holding the interpreter's lock, and without waiting for
        batches that were queued after these latents.
        """
        size = SINGLE if tiled else batch
        images: list[NDArray[np.uint8] | ValueError] = []
        for first in range(0, len(latents), size.capacity):
            images += self._decode_batch(latents[first : first + size.capacity], size, tiled)
        return images

    def _decode_batch(
        self, latents: Sequence[Tensor], size: Batch, tiled: bool
    ) -> list[NDArray[np.uint8] | ValueError]:
        if self._stream is None:
            return _results(latents, *self._compute(latents, size, tiled))
        with torch.cuda.stream(self._stream):
            for one in latents:
                computed: torch.cuda.Event | None = self._computed.get(one)  # type: ignore[no-untyped-call]
                self._stream.wait_event(computed or torch.cuda.default_stream(self._device).record_event())
                one.record_stream(self._stream)  # its memory is not used anew before this stream is done with it
            pinned = [_to_pinned(tensor) for tensor in self._compute(latents, size, tiled)]
            # Blocking: the thread that waits sleeps instead of spinning.
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record(self._stream)
        done.synchronize()
        return _results(latents, *pinned)

    def _compute(self, latents: Sequence[Tensor], size: Batch, tiled: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return images `[n, height, width, 3]` in uint8, which latents are finite `[n]`, and which images are `[n]`."""
        batch = torch.cat(size.fill(latents))
        images, finite = self._autoencoder.decode(batch, tiled)
        # Place by place: to index by a list would copy it to the device, and wait.
        kept, kept_finite = (torch.stack(size.take(tensor.unbind(), len(latents))) for tensor in (images, finite))
        return kept, torch.isfinite(torch.cat(list(latents))).flatten(1).all(1), kept_finite


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
