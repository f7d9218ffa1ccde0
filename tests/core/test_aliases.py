"""Names of other programs for the columns: told from labels, and each for one column."""

from __future__ import annotations

import pytest

from render.core.aliases import ALIASES, ELSEWHERE, WORDS, column_meant, column_nearly, setting_elsewhere
from render.core.columns import column_names
from render.store.columns import STORE_COLUMNS

PROGRAMS = """\
A1111: cfg_scale CFG_scale|guidance; sampler_name Sampler sampler_index Sampling_method|scheduler; Sampling_steps|steps
A1111: batch_size n_iter Batch_count|images; denoising_strength Denoising_strength|strength; init_images|image
A1111: sd_model_checkpoint|model; Negative_prompts|negative_prompt; resolution|size
ComfyUI: positive|prompt; negative|negative_prompt; noise_seed|seed; cfg|guidance; denoise|strength
ComfyUI: ckpt_name unet_name|model
InvokeAI: positive_prompt|prompt; img2img_strength|strength; rand_seed|seed
diffusers: num_inference_steps|steps; guidance_scale|guidance; num_images_per_prompt|images; true_cfg_scale|true_guidance
diffusers: num_frames|frames; pretrained_model_name_or_path|model
Deforum: max_frames|frames; strength_schedule|strength; cfg_scale_schedule|guidance; seed_schedule|seed
Deforum: diffusion_cadence|tween; animation_mode|motion; steps_schedule|steps
DiffusionDB: step|steps; cfg|guidance; sampler|scheduler
Civitai: cfgScale|guidance; negativePrompt|negative_prompt
scripts: ddim_steps num_inference_step n_steps numSteps sampling_steps num_inference_stepps|steps
scripts: n_samples num_images|images
scripts: evaluation_seed seed_value initial_seed torch_seed seed_2|seed; cfgs guidance_value guidence_scale|guidance
scripts: W img_width|width; H image_height|height; image_size|size; frame_count duration|frames; frame_rate|fps
scripts: ckpt|model; uc neg|negative_prompt; init_img|image"""  # program: its names|our column; …


@pytest.mark.parametrize("line", PROGRAMS.split("\n"))
def test_names_of_programs(line: str) -> None:
    for group in line.partition(": ")[2].split("; "):
        names, meant = group.split("|")
        for name in names.split():
            assert column_meant(name) == column_meant(name.replace("_", " ")) == meant, name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "id",
            "prompt_id",
            "image_id",
            "Category",
            "Challenge",
            "Note",
            "tag",
            "include",
            "artist",
            "caption",
            "kind",
        ),
        *(
            "image_name",
            "part_id",
            "user_name",
            "image_nsfw",
            "prompt_nsfw",
            "score",
            "aesthetic_score",
            "class",
            "url",
        ),
        *("seed_group", "frame_id", "step_name", "text", "style", "split", "walker_type", "model_hash", "file_name"),
        *(
            "weight",
            "color",
            "count",
            "name",
            "source",
            "dataset",
            "language",
            "category_id",
            "label",
            "length",
            "title",
        ),
        *("timestamp", "embedding", "clip_score", "object", "scene", "gender", "age", "price", "made", "Größe", "種類"),
    ],
)
def test_names_of_labels(name: str) -> None:
    assert column_meant(name) is None
    assert setting_elsewhere(name) is None


@pytest.mark.parametrize("name", ["mask_image", "lora", "Clip skip", "clipSkip", "eta", "controlnet", "vae", "subseed"])
def test_settings_that_no_column_has(name: str) -> None:
    assert setting_elsewhere(name)
    assert column_meant(name) is None


def test_every_name_stands_for_one_thing() -> None:
    """And no name of ours is another column's alias."""
    folded: dict[str, str] = {}
    for of, names in (ALIASES | ELSEWHERE).items():
        for name in names:
            assert folded.setdefault(name.replace("_", ""), of) == of, name
    assert set(ALIASES) | set(WORDS.values()) <= set(column_names())
    assert not {name for names in ALIASES.values() for name in names} & set(column_names())


@pytest.mark.parametrize(("name", "near"), [("weight", "height"), ("my_seed_a", "seed"), ("prompt_a", "prompt")])
def test_names_that_are_nearly_ours(name: str, near: str) -> None:
    assert column_nearly(name, column_names()) == near


@pytest.mark.parametrize("name", ["kind", "artist", "prompt_id", "image_url", "caption", *STORE_COLUMNS[9:10]])
def test_names_that_are_not(name: str) -> None:
    assert column_nearly(name, column_names()) is None
