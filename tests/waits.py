"""A stand-in for a GPU, on which everything that would wait for the device is an error: torch's meta device.

Tensors there have no values, so `item()`, `bool()` and `cpu()` raise by themselves. `no_waits` adds what works on them but
would wait on a GPU: copies from ordinary memory, and the operations that read a result of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
FROM_DATA = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, Tensor.new_tensor)
READING = (
    "_linalg_solve",
    "linalg_inv",
    "linalg_cholesky",
    "nonzero",
    "masked_select",
    "unique",
    "_local_scalar_dense",
    "equal.default",
    "repeat_interleave.Tensor",
)


class _Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [value for value in args if isinstance(value, Tensor)]
        name = str(func).removeprefix("aten.")
        if any(value.is_meta for value in inputs):
            assert not name.startswith(READING), f"{name} waits for the device"
        if name.startswith(("_to_copy", "copy_")) and len({value.is_meta for value in (*inputs, result)}) == 2:
            free = (kwargs or {}).get("non_blocking") or (len(args) > 2 and args[2])
            assert free, f"a copy of {tuple(inputs[-1].shape)} waits for the device"
        return result


class _Data(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        assert func not in FROM_DATA or not result.is_meta, f"{func.__name__} copies Python numbers to the device"
        return result


@contextmanager
def no_waits() -> Iterator[None]:
    """Context in which a wait for the meta device raises."""
    copies, data = _Copies(), _Data()  # type: ignore[no-untyped-call]
    with copies, data:
        yield
