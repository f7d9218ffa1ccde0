"""Model folders that were made to hurt: each a clear error of the plan, without torch and without waiting."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from odd_files import device, loop, pipe

from render.core.errors import ModelError
from render.models.model import Changes, resolve_model
from render.models.tokens import read_token_limit

pytest_plugins = ["light_models"]

UNET = "unet/diffusion_pytorch_model.safetensors"


NONE = Changes()


def refusal(path: Path | str, changes: Changes = NONE) -> str:
    begin = time.process_time()
    with pytest.raises(ModelError) as caught:
        resolve_model(str(path), None, Path.cwd(), weights=False, changes=changes)
    assert time.process_time() - begin < 5
    assert len(str(caught.value)) < 1500
    return str(caught.value)


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize(("make", "got"), [(pipe, "a pipe"), (loop, "a symbolic link to itself"), (device, "a device")])
@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "sampling.json", "lora.safetensors"])
def test_what_is_no_file_is_not_opened(folder: Path, name: str, make: Callable[[Path], None], got: str) -> None:
    file = folder / name
    file.unlink(missing_ok=True)
    make(file)
    loras = ((file, 1.0),) if name.startswith("lora") else ()
    assert got in refusal(folder, Changes(loras=loras))


@pytest.mark.parametrize("make", [pipe, loop, device])
@pytest.mark.parametrize("name", ["tokenizer.json", "merges.txt", "vocab.json"])
def test_a_tokenizer_that_is_no_file(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / name)
    with pytest.raises(ModelError, match="required a file of a tokenizer"):
        read_token_limit(tmp_path, 77)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": "1.0"}', "[" * 100_000, "\0", '{"model": 7}'])
def test_a_broken_tokenizer(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match="required a tokenizer, got"):
        read_token_limit(tmp_path, 77)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "a JSON file sampling.json"),
        ("[" * 100_000, "lists and objects nested too deep"),
        ("7", "a JSON object in sampling.json, got int"),
        ('{"steps": 20, "stepps": 1}', "got stepps"),
        ('{"steps": "many"}', "an integer, 1 … 998, as steps in sampling.json, got 'many'"),
        ('{"steps": 0}', "as steps in sampling.json, got 0"),
        ('{"width": 1e9}', "as width in sampling.json, got 1000000000.0"),
        ('{"height": true}', "as height in sampling.json, got True"),
        ('{"guidance": NaN}', "a finite number as guidance in sampling.json, got nan"),
        ('{"scheduler": []}', "as scheduler in sampling.json, got []"),
        ('{"scheduler": "flow-euler"}', "as scheduler in sampling.json, got 'flow-euler'"),
        ('{"steps": ' + "9" * 5000 + "}", "a JSON file sampling.json"),
    ],
)
def test_a_broken_sampling_file(folder: Path, text: str, words: str) -> None:
    (folder / "sampling.json").write_text(text)
    assert words in refusal(folder)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"unet": 7}, "[library, class] as 'unet' in model_index.json, got 7"),
        ({"unet": None}, "[library, class] as 'unet' in model_index.json, got null"),
        ({"unet": []}, "[library, class] as 'unet' in model_index.json, got []"),
        ({"unet": [None, None]}, "[library, class] as 'unet' in model_index.json, got [null, null]"),
        ({"unet": ["diffusers"]}, "[library, class] as 'unet'"),
        ({"unet": [["diffusers"], "UNet2DConditionModel"]}, "[library, class] as 'unet'"),
        ({"unet": [{}, {}]}, "[library, class] as 'unet'"),
        ({"extra": [7, 7]}, "[library, class] as 'extra'"),
        ({"unet": ["diffusers", "../../x"]}, "a class of diffusers for 'unet'"),
        ({"unet": ["diffusers", "os.system"]}, "a class of diffusers for 'unet'"),
        ({"unet": ["diffusers", "CrossAttnDownBlock2D"]}, "got 'diffusers' 'CrossAttnDownBlock2D'"),
        ({"unet": ["transformers", "CLIPTextModel"]}, "a class of diffusers for 'unet'"),
        ({"unet": ["diffusers", "FlaxUNet2DConditionModel"]}, "a class of diffusers for 'unet'"),
        ({"scheduler": ["diffusers", "AutoencoderKL"]}, "a class of diffusers for 'scheduler'"),
        ({"tokenizer": ["transformers", "CLIPTextModel"]}, "a class of transformers for 'tokenizer'"),
        ({"unet": ["x" * 6000, "y"]}, "components of diffusers and transformers"),
        ({"_class_name": ["StableDiffusionPipeline"]}, "required a pipeline of"),
        ({"_class_name": "x" * 6000}, "required a pipeline of"),
    ],
)
def test_an_odd_index(folder: Path, fields: dict[str, Any], words: str) -> None:
    change(folder / "model_index.json", **fields)
    assert words in refusal(folder)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sample_size": 10**9}, "at most 16,777,216 as 'sample_size' in unet/config.json, got 1000000000"),
        ({"sample_size": 10**6}, "as width in"),
        ({"sample_size": float("inf")}, "as 'sample_size'"),
        ({"sample_size": -1}, "as width in"),
        ({"sample_size": [1]}, "the configuration of a StableDiffusionPipeline, got TypeError"),
        ({"layers_per_block": 10**6}, "at most 1,000 as 'layers_per_block'"),
        ({"block_out_channels": [1] * 100_000}, "at most 1,000 values of 'block_out_channels'"),
        ({"block_out_channels": None}, "the configuration of a StableDiffusionPipeline, got TypeError"),
        ({"_class_name": "AutoencoderKL"}, "that of AutoencoderKL: another component's folder?"),
    ],
)
def test_odd_configurations(folder: Path, fields: dict[str, Any], words: str) -> None:
    change(folder / "unet/config.json", **fields)
    (folder / "sampling.json").unlink()
    assert words in refusal(folder)


def test_swapped_folders(folder: Path) -> None:
    (folder / "unet").rename(folder / "away")
    (folder / "vae").rename(folder / "unet")
    (folder / "away").rename(folder / "vae")
    refusal(folder)


def safetensors(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def tensors(**places: tuple[str, list[int], list[int]]) -> bytes:
    return json.dumps(
        {name: {"dtype": dtype, "shape": shape, "data_offsets": at} for name, (dtype, shape, at) in places.items()}
    ).encode()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (tensors(a=("F32", [2], [0, 8]), b=("F32", [2], [4, 12])), "a and b, which overlap"),
        (tensors(a=("F32", [1], [0, 4]), b=("F32", [1], [8, 12])), "a and b, which have bytes between them"),
        (tensors(a=("F32", [2], [4, 12])), "a as the first tensor, at byte 4"),
        (tensors(a=("F32", [9], [0, 12])), "a of shape [9] and type F32 in 12 bytes, from 0 to 12"),
        (tensors(a=("F32", [2**62, 2**62], [0, 12])), "a of shape"),
        (tensors(a=("F32", [3], [12, 0])), "a of shape"),
        (tensors(a=("F32", [-3], [0, 12])), "a of shape (-3,)"),
        (tensors(a=("F32", [3.0], [0, 12])), "a of shape (3.0,)"),  # type: ignore[list-item]
        (b'{"a": 7}', "a without dtype, shape and data_offsets"),
        (b'{"a": {"dtype": "F32", "shape": 3, "data_offsets": [0, 12]}}', "a without dtype, shape and data_offsets"),
        (b"[" * 100_000, "a header nested too deep"),
        (b"\xff\xfe", "a safetensors file"),
        (b"[]", "a header that is a list"),
    ],
)
def test_wrong_headers(folder: Path, header: bytes, words: str) -> None:
    """In a LoRA as in a network."""
    content = safetensors(header, bytes(12))
    (folder / "lora.safetensors").write_bytes(content)
    assert words in refusal(folder, Changes(loras=((folder / "lora.safetensors", 1.0),)))
    (folder / UNET).write_bytes(content)
    assert words in refusal(folder)


@pytest.mark.parametrize("places", [7, {"a": 7}, {"a": "../../x.safetensors"}, {"a": "x" * 5000}])
def test_odd_indices_of_weights(folder: Path, places: Any) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ModelError) as caught:
        resolve_model(str(folder), None, Path.cwd())
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("model_id", ["x" * 6000, "a/" + "x" * 6000, "x" * 6000 + ".safetensors", "a/\0"])
def test_long_ids_are_shortened(model_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal(model_id)
