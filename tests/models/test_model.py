"""Model folders: complete, safe, of a kind that is known; and what a prompt loses. No test reaches the network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

import render.models.tokens
from render.core.errors import ModelError
from render.core.vocabulary import DIFFUSION_SCHEDULERS, FLOW_SCHEDULERS
from render.models.families import SamplingDefaults, pipelines
from render.models.families.schedulers import DIFFUSION, FLOW, native_scheduler
from render.models.model import Changes, Model, resolve_model
from render.starter import PIPELINE

pytest_plugins = ["light_models"]


def refusal(path: Path, weights: bool = True) -> str:
    with pytest.raises(ModelError) as caught:
        resolve_model(str(path), None, Path.cwd(), weights)
    return str(caught.value)


def change_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_starter(starter: Model) -> None:
    assert (starter.id, starter.revision, starter.family) == ("starter", "", "sd")
    assert starter.sampling == SamplingDefaults(128, 128, 20, 3.0, "ddim")
    assert (starter.facts.size_multiple, starter.facts.size_min) == (8, 32)


def test_fingerprint_is_that_of_the_content(folder: Path, tmp_path: Path) -> None:
    """Wherever the folder lies and however it is called."""
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    first, second = (resolve_model(str(path), None, Path.cwd()) for path in (folder, elsewhere))
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 16


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "model_index.json",
    ],
)
def test_a_changed_byte_changes_the_fingerprint(folder: Path, name: str) -> None:
    before = resolve_model(str(folder), None, Path.cwd()).fingerprint
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + b"!" if name.endswith("safetensors") else content + b"\n")
    assert resolve_model(str(folder), None, Path.cwd()).fingerprint != before


@pytest.mark.parametrize("name", ["README.md", "sampling.json", "unet/notes.md", "unet/x.fp16.safetensors"])
def test_what_fixes_no_pixels_is_not_in_the_fingerprint(folder: Path, name: str) -> None:
    """`sampling.json` only gives defaults, which every recipe spells out."""
    before = resolve_model(str(folder), None, Path.cwd()).fingerprint
    (folder / name).write_text("{}")
    assert resolve_model(str(folder), None, Path.cwd()).fingerprint == before


def test_relative_folders_are_found_from_the_base(folder: Path) -> None:
    assert resolve_model("mine", None, folder.parent).path == folder


def test_without_its_own_defaults_a_model_gets_the_usual_ones(folder: Path) -> None:
    (folder / "sampling.json").unlink()
    assert resolve_model(str(folder), None, Path.cwd()).sampling == SamplingDefaults(128, 128, 50, 7.5, "ddim")


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    message = refusal(folder)
    assert "required safetensors weights in unet/" in message
    assert "only diffusion_pytorch_model.bin: a pickle runs code when it is loaded" in message


@pytest.mark.parametrize("component", ["text_encoder", "unet", "vae"])
def test_missing_weights_are_refused(folder: Path, component: str) -> None:
    for file in (folder / component).glob("*.safetensors"):
        file.unlink()
    assert f"required safetensors weights in {component}/, got no weights" in refusal(folder)
    resolve_model(str(folder), None, Path.cwd(), weights=False)  # for a plan the configuration will do


@pytest.mark.parametrize("component", ["scheduler", "text_encoder", "tokenizer", "unet", "vae"])
def test_missing_components_are_refused(folder: Path, component: str) -> None:
    shutil.rmtree(folder / component)
    assert f"required a folder {component}/ with its configuration, got none" in refusal(folder, weights=False)


def test_other_pipelines_are_refused(folder: Path) -> None:
    change_json(folder / "model_index.json", _class_name="KandinskyPipeline")
    message = refusal(folder)
    assert "got KandinskyPipeline" in message
    assert all(name in message for name in pipelines())


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_folder_without_an_index_is_refused(folder: Path, content: str | None) -> None:
    (folder / "model_index.json").unlink()
    if content is not None:
        (folder / "model_index.json").write_text(content)
    assert "model_index.json" in refusal(folder)


@pytest.mark.parametrize("model_id", ["", "nothing", "./nothing/here", "/no/such", "~/nothing", "a/b/c"])
def test_ids_that_can_be_neither_folder_nor_hub_model(model_id: str, tmp_path: Path) -> None:
    if not model_id:  # the base itself, which is a folder
        with pytest.raises(ModelError, match="model_index"):
            resolve_model(model_id, None, tmp_path)
        return
    with pytest.raises(ModelError, match="required 'starter', a diffusers folder or a hub id OWNER/NAME, got"):
        resolve_model(model_id, None, tmp_path)


def test_a_download_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def fail(*args: object, **settings: object) -> str:
        raise OSError("no route\nmore lines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=r"got 'owner/name' \(OSError: no route\)"):
        resolve_model("owner/name", None, tmp_path)


def test_a_download_takes_safetensors_only(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def snapshot(model_id: str, **settings: Any) -> str:
        asked.append(settings)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    model = resolve_model("owner/name", "v1", tmp_path)
    resolve_model("owner/name", "v1", tmp_path, weights=False)
    assert model.revision == folder.name  # the cache's folder is called as the commit
    assert asked[0]["revision"] == "v1"
    assert not any("bin" in pattern or "ckpt" in pattern for pattern in asked[0]["allow_patterns"])
    assert "*/*.safetensors" in asked[0]["allow_patterns"]
    assert "*/*.safetensors" not in asked[1]["allow_patterns"]


def test_schedulers_are_known() -> None:
    assert tuple(DIFFUSION) == DIFFUSION_SCHEDULERS
    assert tuple(FLOW) == FLOW_SCHEDULERS
    assert native_scheduler({"_class_name": "DPMSolverMultistepScheduler"}, "ddim") == "dpm++2m"
    assert native_scheduler({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "ddim") == "flow-euler"
    assert native_scheduler({"_class_name": "EDMEulerScheduler"}, "ddim") == "ddim"


# Half-downloaded folders, and others that would fail at night


def test_components_of_other_libraries_are_refused(folder: Path) -> None:
    """They would run code that comes with the model."""
    change_json(folder / "model_index.json", unet=["my_unet", "MyUNet"])
    assert "required components of diffusers and transformers, got unet of 'my_unet'" in refusal(folder)


@pytest.mark.parametrize("change", [lambda data: data[:-2], lambda data: data + b"!"])
def test_weights_of_another_size_than_their_header_says_are_refused(folder: Path, change: Any) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(change(whole))
    message = refusal(folder)
    assert f"required {len(whole)} bytes in {file}, got {len(change(whole))}: a download half done?" in message
    resolve_model(str(folder), None, Path.cwd(), weights=False)


@pytest.mark.parametrize("content", [b"", b"weights!", b"\x08\0\0\0\0\0\0\0no json!", b"\x02\0\0\0\0\0\0\0[]"])
def test_weights_that_are_no_safetensors_are_refused(folder: Path, content: bytes) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(content)
    assert "diffusion_pytorch_model.safetensors" in refusal(folder)


def test_a_missing_part_of_the_weights_is_refused(folder: Path) -> None:
    unet = folder / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model-00001-of-00002.safetensors")
    parts = {f"w{n}": f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    message = refusal(folder)
    assert "required unet/diffusion_pytorch_model-00002-of-00002.safetensors, which diffusion_pytorch_model" in message


def test_a_configuration_without_what_planning_needs_is_refused(folder: Path) -> None:
    config = json.loads((folder / "unet" / "config.json").read_text())
    del config["sample_size"]
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    assert "required the configuration of a StableDiffusionPipeline, got KeyError: 'sample_size'" in refusal(folder)


@pytest.mark.parametrize(("skip", "fits"), [(1, True), (2, True), (3, False), (0, False)])
def test_clip_skip_leaves_a_layer(folder: Path, skip: int, fits: bool) -> None:
    """The starter has three."""
    if fits:
        assert resolve_model(str(folder), None, Path.cwd(), changes=Changes(clip_skip=skip)).changes.clip_skip == skip
        return
    with pytest.raises(ModelError, match=rf"required model\.clip_skip of 1 … 2, got {skip}"):
        resolve_model(str(folder), None, Path.cwd(), changes=Changes(clip_skip=skip))


def test_a_lora_that_is_not_whole_is_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    file.write_bytes(b"half")
    with pytest.raises(ModelError, match=r"lora\.safetensors"):
        resolve_model(str(folder), None, Path.cwd(), changes=Changes(loras=((file, 1.0),)))


PROMPTS = [
    "",
    "a red circle",
    "a red circle on a blue ground " * 6,
    "It's  SHOUTED,   and\nbroken — très café, naïve 12345 🙂!!! " * 3,
    "word " * 22 + "kept",
    "supercalifragilisticexpialidocious " * 5,
    "x" * 23,
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_lost_words_are_those_that_transformers_cuts(starter: Model, prompt: str) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer", local_files_only=True)
    limit = tokenizer.model_max_length
    cut = len(tokenizer(prompt).input_ids) > limit
    lost = list(starter.lost_words([prompt]))
    assert bool(lost) is cut
    for text, words in lost:
        assert text == prompt
        assert prompt.strip().endswith(words)
        kept = prompt.strip()[: -len(words)]
        assert len(tokenizer(kept).input_ids) <= limit  # what is not called lost is seen whole


def test_lost_words_name_a_word_that_is_cut_as_lost(starter: Model) -> None:
    ((_, words),) = starter.lost_words(["a cat " * 11 + "and an extraordinarily long tail"])
    assert words.endswith("long tail")
    assert not words.startswith(" ")


def test_vocabulary_and_merges_are_read_as_transformers_reads_them(tmp_path: Path) -> None:
    """Models older than tokenizer.json, on a vocabulary of bytes and a few merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("c", "a"), ("ca", "t</w>"), ("t", "h"), ("th", "e</w>"), ("d", "o"), ("do", "g</w>"), ("'", "s</w>")]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n")
    ours = render.models.tokens._tokenizer(tmp_path)
    assert ours is not None
    theirs = CLIPTokenizer(vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt"))
    for prompt in ["the cat's dog", "The  CAT, 12 dogs!", "café 🙂", "a-b_c", *PROMPTS[:4]]:
        expected = theirs(prompt, add_special_tokens=False).input_ids
        assert ours.encode(prompt, add_special_tokens=False).ids == expected, prompt
