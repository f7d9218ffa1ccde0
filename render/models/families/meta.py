"""A pipeline's networks on torch's meta device, where tensors have shapes but no values: built in seconds, without weights.

What a worker would find out when it loads the model is found here: classes that do not exist or are of another kind,
tensors that are missing or of another shape or type, LoRAs that do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from render.core import shorten
from render.models.families.parts import add_loras
from render.models.headers import Tensor, read_weights

__all__ = ["Fault", "Parts", "component_faults", "fit_loras"]

Fault = tuple[str, str]  # what is required, what was got
Parts = Mapping[str, tuple[str, str]]  # component → library, class
FLOATING = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")
LISTED = 3  # tensors named of those that are missing


def component_faults(pipeline: str, folder: Path, name: str, part: tuple[str, str]) -> tuple[Any, list[Fault]]:
    """Return a network or another component's class, and what is wrong with it.

    `part` is the component's library and class. A network is built on the meta device, and compared with its files.
    """
    import diffusers
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()  # it warns of image processors, which are not used
    expected = getattr(diffusers, pipeline)._get_signature_types()[name][0]
    found = _class_of(part)
    if found is None or not _same_kind(found, expected):
        kind = f"a class like {expected.__name__} as {name!r} in model_index.json"
        return None, [(kind, f"{part[1]!r}, {'of another kind' if found else f'which {part[0]} does not have'}")]
    if not issubclass(found, torch.nn.Module):
        return found, []
    try:
        network, faults = (_diffusers if part[0] == "diffusers" else _transformers)(found, folder / name)
    except Exception as error:  # of configurations, the libraries raise errors of many classes
        return None, [(f"a configuration of a {part[1]} in {name}/", shorten(f"{type(error).__name__}: {error}"))]
    where = f"of a {part[1]} in {name}/"
    return network, [(f"{required} {where}", got) for required, got in faults]


def fit_loras(pipeline: str, parts: Mapping[str, Any], loras: tuple[tuple[Path, float], ...]) -> None:
    """Add LoRAs to networks on the meta device. Raises ModelError for one that does not fit."""
    import diffusers

    whole = getattr(diffusers, pipeline)
    others = {name: None for name in whole._get_signature_types() if name not in parts}
    flags = {name: False for name in others if name.startswith(("requires_", "force_", "add_"))}
    add_loras(whole(**{**others, **flags, **parts}), loras)


def _class_of(part: tuple[str, str]) -> Any:
    try:
        found = getattr(import_module(part[0]), part[1], None)
    except Exception:  # a class whose own library is not installed
        return None
    return found if isinstance(found, type) else None


def _same_kind(found: type, expected: type) -> bool:
    """Return True for a class that can stand where a pipeline expects another: text encoders of one file are alike."""
    import diffusers

    if expected.__name__ == "KarrasDiffusionSchedulers":
        return issubclass(found, diffusers.SchedulerMixin)
    if issubclass(expected, diffusers.SchedulerMixin):
        return issubclass(found, diffusers.SchedulerMixin)
    shared = {"PreTrainedModel", "ModelMixin", "PreTrainedTokenizerBase"}
    bases = [{base.__name__ for base in one.__mro__} & shared for one in (found, expected)]
    loadable = issubclass(found, expected) or found.__module__ == expected.__module__
    tokenizers = "PreTrainedTokenizerBase" in bases[0] & bases[1]
    return bases[0] == bases[1] and (loadable or tokenizers)


def _transformers(found: Any, folder: Path) -> tuple[Any, list[Fault]]:
    """Return a network of transformers, whose own loader compares names and shapes; on the meta device it reads no value."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    network, info = found.from_pretrained(
        folder,
        device_map="meta",
        use_safetensors=True,
        local_files_only=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    faults = [_missing(sorted(info["missing_keys"]))] if info["missing_keys"] else []
    for name, stored, wanted in sorted(info["mismatched_keys"])[:1]:
        faults.append((f"{shorten(name)} of shape {list(wanted)}", shorten(list(stored))))
    faults += list(_types(read_weights(folder, "model")))
    return network, faults


def _diffusers(found: Any, folder: Path) -> tuple[Any, list[Fault]]:
    """Return a network of diffusers, and in what its files differ; old names are read as diffusers does."""
    import torch

    with torch.device("meta"):
        network = found.from_config(found.load_config(folder, local_files_only=True))
    tensors = network._fix_state_dict_keys_on_load(read_weights(folder, "diffusion_pytorch_model"))
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in tensors]
    faults = [_missing(missing)] if missing else []
    for name, value in wanted.items():
        if name in tensors and tuple(value.shape) != tensors[name].shape:
            faults.append((f"{shorten(name)} of shape {list(value.shape)}", shorten(list(tensors[name].shape))))
            break
    return network, [*faults, *_types({name: tensors[name] for name in wanted if name in tensors})]


def _missing(names: list[str]) -> Fault:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        f"tensors {', '.join(map(shorten, names[:LISTED]))}{more}",
        "none of these names (another component's files?)",
    )


def _types(tensors: Mapping[str, Tensor]) -> Iterator[Fault]:
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATING and not name.endswith("position_ids"):
            yield f"floating-point numbers in {shorten(name)}", tensor.dtype
            return
