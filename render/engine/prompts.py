"""Embeddings of prompts, and the text encoders that make them.

On a GPU that is short of memory the encoders stay on the CPU. They are brought to the GPU when prompts come that are not
held, once for all of these, and leave it again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch

from render.engine.device import memory_is_short
from render.models import Conditioning

__all__ = ["PromptCache", "PromptKey"]

EMBEDDINGS_BYTES = 2**30  # held on the device; a prompt takes 0.3 MB (SDXL, bfloat16) to 4 MB (FLUX.1)
SPILLED_BYTES = 4 * 2**30  # held in the CPU's memory, of prompts that have no room on a GPU
FATAL = (torch.OutOfMemoryError, MemoryError, torch.AcceleratorError)

PromptKey: TypeAlias = tuple[str, bool, str]  # text, "is a negative prompt" (some encode it otherwise), syntax


class PromptCache:
    """Embeddings of the prompts used last."""

    def __init__(
        self, encode: Callable[[str, bool, str], Conditioning], encoders: Callable[[], list[Any]], device: torch.device
    ) -> None:
        """`encode` makes the embeddings of a prompt with the `encoders`, which have to be on `device` for that."""
        self._encode, self._encoders, self._device = encode, encoders, device
        self._held: OrderedDict[PromptKey, Conditioning] = OrderedDict()  # on the device, the one used last at the end
        self._spilled: OrderedDict[PromptKey, Conditioning] = OrderedDict()  # on the CPU, of a GPU's prompts

    def __len__(self) -> int:
        """Return the number of prompts held on the device."""
        return len(self._held)

    def __contains__(self, key: PromptKey) -> bool:
        return key in self._held or key in self._spilled

    def get(self, key: PromptKey) -> Conditioning:
        """Return the embeddings of a prompt, encoding it if it is not held. Raises what encoding raises."""
        if key in self._spilled:
            spilled = self._spilled.pop(key)
            self._add(key, {name: tensor.to(self._device, non_blocking=True) for name, tensor in spilled.items()})
        elif key not in self._held:
            with self._encoders_there():
                self._add(key, self._encode(*key))
        self._held.move_to_end(key)
        return self._held[key]

    def hold(self, keys: Iterable[PromptKey], ahead: Iterable[PromptKey] = ()) -> None:
        """Encode the prompts among `keys` that are not held; if the encoders have to be moved for it, those `ahead` too.

        Of `ahead` as many are encoded as there is room for. A prompt that can't be encoded is left out: `get` will raise its
        error. Raises torch.OutOfMemoryError, MemoryError and torch.AcceleratorError.
        """
        missing = [key for key in dict.fromkeys(keys) if key not in self]
        if not missing:
            return
        with self._encoders_there():
            for key in missing:
                self._try(key)
            if memory_is_short(self._device):  # the encoders are about to leave
                for key in ahead:
                    if self._size_bytes() >= EMBEDDINGS_BYTES + SPILLED_BYTES // 2:
                        break
                    if key not in self:
                        self._try(key)

    def _try(self, key: PromptKey) -> None:
        try:
            self._add(key, self._encode(*key))
        except FATAL:
            raise
        except Exception:  # the frames of this prompt will raise it again
            return

    @contextmanager
    def _encoders_there(self) -> Iterator[None]:
        """Have the encoders on the device inside the context; afterwards they leave it if its memory is short."""
        self._move_encoders(self._device)
        try:
            yield
        finally:
            if memory_is_short(self._device):
                self._move_encoders(torch.device("cpu"))
                torch.cuda.empty_cache()

    def _move_encoders(self, device: torch.device) -> None:
        for encoder in self._encoders():
            if encoder.device.type != device.type:
                encoder.to(device)

    def _add(self, key: PromptKey, conditioning: Conditioning) -> None:
        """Hold embeddings; those used longest ago make room, from a GPU to the CPU's memory and from there to nowhere."""
        self._held[key] = conditioning
        while len(self._held) > 1 and _total(self._held) > EMBEDDINGS_BYTES:
            oldest, gone = self._held.popitem(last=False)
            if self._device.type != "cpu":
                self._spilled[oldest] = {name: tensor.to("cpu") for name, tensor in gone.items()}
        while _total(self._spilled) > SPILLED_BYTES:
            self._spilled.popitem(last=False)

    def _size_bytes(self) -> int:
        return _total(self._held) + _total(self._spilled)


def _total(held: OrderedDict[PromptKey, Conditioning]) -> int:
    return sum(tensor.nbytes for conditioning in held.values() for tensor in conditioning.values())
