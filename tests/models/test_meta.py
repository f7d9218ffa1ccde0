"""`--check-model`: networks on the meta device against the headers of their files, for every family."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_files import make_lora
from pipelines import make_pipeline
from safetensors.torch import load_file, save_file

import render.models.headers
from render.core.errors import ModelError
from render.models.model import Changes, resolve_model

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pipeline("sd", tmp_path_factory.mktemp("sd") / "sd")


@pytest.fixture
def folder(sd: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sd, tmp_path / "mine")


def check(folder: Path, *loras: Path) -> None:
    resolve_model(
        str(folder), None, Path.cwd(), changes=Changes(loras=tuple((file, 1.0) for file in loras))
    ).check_networks()


def refusal(folder: Path, *loras: Path) -> str:
    with pytest.raises(ModelError) as caught:
        check(folder, *loras)
    return str(caught.value)


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize("variant", ["sd", "sdxl", "sd3", "sd3-no-t5", "sd35", "flux-dev", "pixart"])
def test_models_that_fit(variant: str, tmp_path: Path) -> None:
    check(make_pipeline(variant, tmp_path / variant))


def test_no_weight_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with nothing but holes behind its header does as well."""
    file = folder / UNET
    header = int.from_bytes(file.read_bytes()[:8], "little") + 8
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.truncate(header)
        stream.truncate(size)
    check(folder)


@pytest.mark.parametrize(
    ("name", "part", "words"),
    [
        ("unet", ["diffusers", "UNet9DConditionModel"], "'UNet9DConditionModel', which diffusers does not have"),
        ("unet", ["diffusers", "UNet2DModel"], "a class like UNet2DConditionModel as 'unet'"),
        ("vae", ["diffusers", "AutoencoderKLWan"], "a class like AutoencoderKL as 'vae'"),
        ("text_encoder", ["transformers", "NoTextModel"], "'NoTextModel', which transformers does not have"),
        ("text_encoder", ["transformers", "T5EncoderModel"], "'T5EncoderModel', of another kind"),
        ("tokenizer", ["transformers", "NoTokenizer"], "'NoTokenizer', which transformers does not have"),
        ("scheduler", ["diffusers", "NoScheduler"], "'NoScheduler', which diffusers does not have"),
    ],
)
def test_classes(folder: Path, name: str, part: list[str], words: str) -> None:
    change(folder / "model_index.json", **{name: part})
    assert words in refusal(folder)


def test_another_vision_model_of_the_same_library(folder: Path) -> None:
    change(folder / "model_index.json", text_encoder=["transformers", "CLIPVisionModel"])
    assert "text_encoder" in refusal(folder)


@pytest.mark.parametrize(
    ("component", "fields", "words"),
    [
        ("unet", {"cross_attention_dim": 48}, "of a UNet2DConditionModel in unet/"),
        ("unet", {"down_block_types": ["NoBlock", "NoBlock"]}, "a configuration of a UNet2DConditionModel in unet/"),
        ("vae", {"latent_channels": 8}, "of a AutoencoderKL in vae/"),
        ("text_encoder", {"hidden_size": 48}, "text_encoder/"),
        ("text_encoder", {"num_hidden_layers": 9}, "tensors "),
    ],
)
def test_sizes_that_the_files_do_not_have(folder: Path, component: str, fields: dict[str, Any], words: str) -> None:
    change(folder / component / "config.json", **fields)
    assert words in refusal(folder)


def test_every_fault_is_told_at_once(folder: Path) -> None:
    change(folder / "model_index.json", unet=["diffusers", "UNet2DModel"])
    change(folder / "vae/config.json", latent_channels=8)
    assert len(refusal(folder).splitlines()) >= 2


def test_a_tensor_of_another_name_shape_or_type(folder: Path) -> None:
    file = folder / UNET
    tensors = load_file(file)
    name = "conv_in.weight"
    save_file({**tensors, name: tensors[name][:, :1].contiguous()}, file)
    assert "conv_in.weight of shape [" in refusal(folder)
    save_file({**tensors, name: tensors[name].to(torch.int32)}, file)
    assert "required floating-point numbers in conv_in.weight of a UNet2DConditionModel in unet/, got I32" in refusal(
        folder
    )
    save_file({key: value for key, value in tensors.items() if key != name}, file)
    assert "required tensors conv_in.weight of a UNet2DConditionModel in unet/, got none of these names" in refusal(
        folder
    )


def test_weights_under_another_name_are_not_loaded(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet/model.safetensors")
    assert "unet/" in refusal(folder)


@pytest.mark.parametrize("variant", ["sd", "sdxl", "sd3", "flux-dev"])
def test_loras_that_fit(variant: str, tmp_path: Path) -> None:
    folder = make_pipeline(variant, tmp_path / variant)
    check(folder, make_lora(variant, folder, tmp_path / "a.safetensors"))


def test_loras_that_do_not_fit(folder: Path, tmp_path: Path) -> None:
    good = load_file(make_lora("sd", folder, tmp_path / "good.safetensors"))
    file = tmp_path / "bad.safetensors"
    save_file({f"vae.{name.partition('.')[2]}": value for name, value in good.items()}, file)
    assert "required weights for unet, text_encoder, got some for vae" in refusal(folder, file)
    save_file({name: torch.cat([value, value], 1) for name, value in good.items()}, file)
    assert f"LoRA {file}: required weights for unet, text_encoder, got" in refusal(folder, file)


def test_weights_are_those_that_an_index_names(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(2)}, tmp_path / "two.safetensors")
    save_file({"c": torch.zeros(3)}, tmp_path / "model.safetensors")
    assert set(render.models.headers.read_weights(tmp_path, "model")) == {"c"}
    places = {"a": "one.safetensors", "b": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert set(render.models.headers.read_weights(tmp_path, "model")) == {"a", "b"}
