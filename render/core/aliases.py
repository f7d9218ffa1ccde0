"""The names that other programs have for a manifest's columns, and settings of theirs that have no column here.

From A1111's infotext, API and prompt files, ComfyUI's nodes, InvokeAI, diffusers' arguments, Deforum, DiffusionDB,
Civitai's metadata and common scripts. Names are compared without case, blanks and signs: `cfg_scale` stands for
`CFG scale`, `cfgScale` and `cfg-scale`, too. Standard library only.
"""

from __future__ import annotations

import difflib
import re
import unicodedata

__all__ = ["ALIASES", "ELSEWHERE", "column_meant", "column_nearly", "setting_elsewhere"]

ALIASES: dict[
    str, tuple[str, ...]
] = {  # our column: names of other programs; those made of FILLERS and WORDS go without
    "walk": ("walk_name", "walk_id", "animation_name"),
    "prompt": ("prompts", "positive", "positive_prompt", "pos_prompt", "text_prompt", "prompt_text", "full_prompt"),
    "negative_prompt": (
        *("negative", "negatives", "negative_prompts", "neg", "neg_prompt", "neg_prompts", "nprompt", "n_prompt"),
        *("negative_text", "negative_text_prompt", "uc", "uncond", "uncond_prompt", "unconditional_prompt"),
        *("un_prompt", "anti_prompt", "prompt_negative", "negative_conditioning", "unconditional_conditioning"),
    ),
    "seed": ("all_seeds", "seed_resize", "seed_schedule", "seed_number", "random_state", "variation_seed"),
    "images": (
        *("n_iter", "n_samples", "num_samples", "batch_size", "batch_count", "num_images", "n_images"),
        *("num_images_per_prompt", "images_per_prompt", "number_of_images", "image_count", "num_outputs", "samples"),
        *("repeat", "repeats", "num_seeds", "n_seeds", "iterations", "samples_per_prompt", "num_generations"),
    ),
    "frames": (
        *("num_frames", "n_frames", "frame_count", "max_frames", "nb_frames", "video_length", "duration"),
        *("total_frames", "duration_frames", "num_interpolation_steps", "interpolation_steps", "in_between"),
    ),
    "interpolation": ("interp", "interpolation_method", "interpolation_mode", "interpolation_type"),
    "easing": ("ease", "easing_function", "easing_type"),
    "width": ("w", "img_w", "image_w", "image_width", "img_width", "output_width", "target_width", "target_size_width"),
    "height": (
        "h",
        "img_h",
        "image_h",
        "image_height",
        "img_height",
        "output_height",
        "target_height",
        "target_size_height",
    ),
    "size": (
        "resolution",
        "image_size",
        "img_size",
        "dims",
        "dimensions",
        "width_height",
        "output_size",
        "target_size",
    ),
    "steps": (
        "num_inference_steps",
        "inference_steps",
        "sampling_steps",
        "steps_schedule",
        "iters",
        "denoising_iterations",
        "timesteps",
        "num_timesteps",
        "ddim_num_steps",
    ),
    "guidance": (
        *("cfg", "cfgs", "cfg_scale", "cfg_scales", "cfg_scale_schedule", "guidance_scale", "guidance_scales", "scale"),
        *("classifier_free_guidance", "unconditional_guidance_scale", "cond_scale", "guidance_strength"),
        *("guidance_weight", "distilled_cfg_scale", "distilled_guidance", "flux_guidance", "prompt_guidance"),
    ),
    "true_guidance": ("true_cfg", "true_cfg_scale", "true_guidance_scale"),
    "scheduler": (
        *("sampler", "samplers", "sampler_name", "sampler_index", "sampler_type", "sampling_method", "sampling_mode"),
        *("scheduler_name", "scheduler_type", "scheduler_class", "noise_scheduler", "sample_method", "solver"),
        *("sampler_schedule", "sampling_algorithm"),
    ),
    "model": (
        *("model_id", "model_name", "model_path", "model_key", "checkpoint", "checkpoint_name", "ckpt", "ckpt_name"),
        *("ckpt_path", "checkpoint_path", "sd_model", "sd_model_name", "sd_model_checkpoint", "sd_checkpoint"),
        *("base_model", "pretrained_model", "pretrained_model_name_or_path", "unet_name", "diffusion_model"),
        *("checkpoint_schedule", "model_checkpoint"),
    ),
    "motion": ("animation_mode", "motion_type", "walk_type"),
    "anchor": ("shared_steps",),
    "tween": ("tweens", "diffusion_cadence", "cadence"),
    "fps": ("frame_rate", "framerate", "frames_per_second"),
    "image": (
        *(
            "img",
            "init_image",
            "init_img",
            "initial_image",
            "input_image",
            "source_image",
            "start_image",
            "starting_image",
        ),
        *("reference_image", "image_prompt", "init", "init_images", "img2img_image", "input_img", "init_image_path"),
    ),
    "strength": (
        *("denoising_strength", "denoise", "denoise_strength", "denoising", "img2img_strength", "strength_schedule"),
        *("image_strength", "init_strength", "init_image_strength", "prompt_strength", "noise_strength"),
    ),
    "audio": ("soundtrack", "audio_path", "audio_file", "audio_filepath"),
    "time_s": ("time_seconds", "start_time_s", "start_s"),
}
ELSEWHERE: dict[str, tuple[str, ...]] = {  # what to do: names of settings that no column has
    "there is no inpainting": (
        "mask",
        "mask_image",
        "mask_img",
        "mask_path",
        "inpaint_mask",
        "inpainting_mask",
        "mask_url",
    ),
    "the job's key `model.clip_skip` is for all rows": ("clip_skip", "clip_stop_at_last_layers", "stop_at_clip_layer"),
    "the job's key `model.loras` is for all rows of a model": (
        *("lora", "loras", "lora_name", "lora_names", "lora_path", "lora_weight", "lora_weights", "lora_scale"),
        *("lora_strength", "lora_model", "strength_model", "strength_clip", "cross_attention_kwargs"),
    ),
    "the schedulers have their own": (
        *("eta", "ddim_eta", "eta_noise_seed_delta", "ensd", "s_noise", "s_churn", "s_tmin", "s_tmax", "sigma_min"),
        *("sigma_max", "eta_ancestral", "ancestral_eta"),
    ),
    "there is none here; `dpm++2m karras` has Karras's": ("schedule_type", "noise_schedule", "sigma_schedule"),
    "the model's own is used": (
        "vae",
        "vae_name",
        "sd_vae",
        "vae_path",
        "refiner",
        "refiner_model",
        "refiner_checkpoint",
    ),
    "there is none here; a walk's seeds are interpolated": ("subseed", "subseed_strength", "variation_strength"),
    "there is no ControlNet or adapter": (
        *("controlnet", "control_net", "control_image", "controlnet_image", "controlnet_conditioning_scale"),
        *("controlnet_model", "controlnet_strength", "ip_adapter_image", "ip_adapter_scale", "t2i_adapter"),
    ),
    "there is none here": (
        *("guidance_rescale", "rescale_cfg", "cfg_rescale", "image_guidance_scale", "image_cfg_scale", "pag_scale"),
        *("perturbed_attention_guidance", "hr_scale", "hires_fix", "enable_hr", "hr_upscaler", "hires_upscale"),
        *("hires_steps", "hires_upscaler", "denoising_start", "denoising_end", "tiling", "seamless", "restore_faces"),
        *(
            "freeu",
            "prompt_2",
            "prompt2",
            "prompt_3",
            "negative_prompt_2",
            "negative_prompt_3",
            "aesthetic_score_target",
        ),
        *("styles", "style_preset", "textual_inversion", "hypernetwork", "hypernet"),
        *("max_sequence_length", "guidance_start", "guidance_end"),
    ),
    "columns `width` and `height` have the pixels": ("aspect_ratio", "aspect", "ar"),
}
WORDS = {  # a name of such a word and FILLERS is its column's: `evaluation_seed`, `num_inference_step`
    **dict.fromkeys(("seed", "seeds"), "seed"),
    **dict.fromkeys(("step", "steps"), "steps"),
    **dict.fromkeys(("cfg", "cfgs", "guidance"), "guidance"),
    **dict.fromkeys(("sampler", "samplers", "scheduler", "schedulers"), "scheduler"),
    **dict.fromkeys(("width",), "width"),
    **dict.fromkeys(("height",), "height"),
    **dict.fromkeys(("frames",), "frames"),
    **dict.fromkeys(("strength",), "strength"),
    **dict.fromkeys(("negative", "neg"), "negative_prompt"),
    **dict.fromkeys(("checkpoint", "ckpt"), "model"),
    **dict.fromkeys(("fps",), "fps"),
}
FILLER_WORDS = (
    "num number no n nr nb of the total value val param default my sd sdxl sd15 flux image img images sampling "
    "sample inference infer diffusion denoising denoise ddim plms gen generation generated generator "
    "evaluation eval random rand rng noise init initial start starting base fixed global latent torch manual "
    "current used orig original per scale schedule count prompt prompts text output out target in input pixels "
    "px k ksampler exact full unconditional int list all main"
)
FILLERS = frozenset(FILLER_WORDS.split())
# A `seed_group` or `prompt_id` says something of the thing, and is not the thing.
ATTRIBUTE_WORDS = (
    "id ids idx index key name type kind group set class category source hash url path file no number language "
    "lang length len score tag tags label embedding embeddings tokens style nsfw date time"
)
ATTRIBUTES = frozenset(ATTRIBUTE_WORDS.split())
SPLIT = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])")
NEARLY = 0.9  # of difflib's ratio, for the longer names of other programs


def _fold(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


FOLDED = {_fold(alias): column for column, aliases in ALIASES.items() for alias in aliases}
FOLDED_ELSEWHERE = {_fold(alias): advice for advice, aliases in ELSEWHERE.items() for alias in aliases}
LONG = {alias: column for alias, column in FOLDED.items() if len(alias) > 8}


def column_meant(name: str) -> str | None:
    """Return the column that a name of another program stands for, None for a name that none of them uses.

    >>> [column_meant(name) for name in ("CFG scale", "evaluation_seed", "numInferenceSteps", "seed_group", "artist")]
    ['guidance', 'seed', 'steps', None, None]
    """
    folded = _fold(name)
    if folded in FOLDED:
        return FOLDED[folded]
    words = [word for part in SPLIT.split(name) if (word := part.casefold().rstrip("0123456789"))]
    meant = {WORDS[word] for word in words if word in WORDS}
    others = [word for word in words if word not in WORDS]
    if len(meant) == 1 and len(words) > len(others) and all(word in FILLERS for word in others):
        return meant.pop()
    near = difflib.get_close_matches(folded, LONG, 1, NEARLY) if len(folded) > 8 else []
    return LONG[near[0]] if near else None


def setting_elsewhere(name: str) -> str | None:
    """Return what to do about a setting of another program that no column has, None for a name that is none."""
    return FOLDED_ELSEWHERE.get(_fold(name))


def column_nearly(name: str, columns: tuple[str, ...]) -> str | None:
    """Return the column that a label's name may have been meant for, though it is let in; None when there is none.

    >>> [column_nearly(name, ("height", "prompt", "seed")) for name in ("weight", "my_seed_x", "prompt_id", "artist")]
    ['height', 'seed', None, None]
    """
    words = [word.casefold() for word in SPLIT.split(name) if word]
    if len(words) == 2 and words[0] in ("image", "img") and words[1] in ("path", "file"):
        return "image"
    if words and words[-1] in ATTRIBUTES:
        return None
    for word in words:
        if word in WORDS or word in columns:
            return WORDS.get(word, word)
    near = difflib.get_close_matches(name.strip().casefold(), columns, 1, 0.75)
    return near[0] if near else None
