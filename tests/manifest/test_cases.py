"""Small tables as people bring them, each with its right answer: what is read, or the one line that says what to change."""

from __future__ import annotations

import csv as csv_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest_tables import DEFAULTS, MODELS, csv, error, errors, keyframes

from render.core.errors import ManifestError
from render.core.scheduler_names import scheduler_meant
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.manifest.names import Naming
from render.manifest.read import read_manifest
from render.manifest.stored import Manifest, read_stored

pytest_plugins = ["manifest_tables"]

# Indices that programs write beside the table.

R_TABLE = '"","prompt","seed","note"\n"1","3d dog face",1,NA\n"2","3d cat face",NA,"x"\n'


def test_the_nameless_index_of_r_is_left_out(path: Path) -> None:
    manifest = csv(path, R_TABLE)
    assert [(row.prompt, [*row.labels.items()]) for row in keyframes(manifest)] == [
        ("3d dog face", [("note", "NA")]),
        ("3d cat face", [("note", "x")]),
    ]
    assert keyframes(manifest)[0].seed == 1
    (warning,) = manifest.warnings
    assert warning.startswith("m.csv: the first column, without a name, is left out: its numbers count the rows")


@pytest.mark.parametrize("index", [None, [17, 23], range(1, 3)])
@pytest.mark.parametrize("again", [False, True])
def test_the_index_of_pandas_is_left_out(path: Path, index: Any, again: bool) -> None:
    """As it writes it, and as it reads and writes it again: `Unnamed: 0`."""
    data = pd.DataFrame({"prompt": ["3d dog face", "3d cat face"], "seed": [1, 2]}, index=index)
    data.to_csv(path)
    if again:
        pd.read_csv(path).to_csv(path)
    data.to_parquet(path.with_suffix(".parquet"))
    plain = csv(path.with_name("plain.csv"), "prompt,seed\n3d dog face,1\n3d cat face,2\n")
    assert read_manifest(path, DEFAULTS, MODELS).fingerprint == plain.fingerprint
    assert read_manifest(path.with_suffix(".parquet"), DEFAULTS, MODELS).fingerprint == plain.fingerprint


@pytest.mark.parametrize("text", [",prompt\n5,a\n3,b\n", "prompt,\na,1\n", "prompt,seed,,\na,1,,\n", ",prompt\nx,a\n"])
def test_other_columns_without_a_name(path: Path, text: str) -> None:
    for line in errors(path, text):
        assert line.startswith("required a name for every column; got none for column ")
        assert "pandas writes one without index=False" in line
        assert "columns: {'': ignore}" in line
    manifest = read_manifest(path, DEFAULTS, MODELS, naming=Naming(columns={"": "ignore"}))
    assert [row.labels for row in keyframes(manifest)] == [{}] * manifest.row_count


def test_an_index_that_the_hub_shows_as_a_column(path: Path) -> None:
    manifest = csv(path, "prompt,seed,__index_level_0__,kind\n3d dog face,1,17,a\n3d cat face,2,23,b\n")
    assert [row.labels for row in keyframes(manifest)] == [{"kind": "a"}, {"kind": "b"}]
    assert manifest.warnings == ("m.csv: column '__index_level_0__', an index that pandas wrote, is left out",)
    manifest.write(path.with_suffix(".parquet"))
    assert read_stored(path.with_suffix(".parquet")).fingerprint == manifest.fingerprint


def test_an_index_that_the_job_names_is_kept(path: Path) -> None:
    path.write_text("Unnamed: 0,prompt,__index_level_0__\n7,a,1\n8,b,2\n")
    naming = Naming(columns={"Unnamed: 0": "seed"}, labels=("__index_level_0__",))
    rows = keyframes(read_manifest(path, DEFAULTS, MODELS, naming=naming))
    assert [(row.seed, row.labels) for row in rows] == [(7, {"__index_level_0__": 1}), (8, {"__index_level_0__": 2})]


def test_a_table_without_a_header_or_of_json_is_told_so(path: Path) -> None:
    assert error(path, "a dog,7\na cat,8\n").endswith("(is the first line a row? The names of the columns stand there)")
    assert error(path, '{"prompt": "a"}\n{"prompt": "b"}\n').endswith(
        "(JSON? A file of one object a line is called .jsonl)"
    )


# Names.

OTHER_NAMES = {
    "guidance": ["cfgs"],
    "steps": ["inference_steps", "num_steps", "num_inference_step"],
    "seed": ["evaluation_seed", "rand_seed", "random_seed", "noise_seed"],
    "negative_prompt": ["neg_prompt", "negative", "uc"],
    "images": ["n_iter", "batch_size", "num_images", "num_images_per_prompt", "n_samples"],
    "model": ["model_id", "checkpoint"],
    "image": ["init_image"],
    "strength": ["denoising_strength"],
    "frames": ["duration", "num_frames", "frame_count"],
}
ELSEWHERE = {"lora": "`model.loras`", "clip_skip": "`model.clip_skip`", "eta": "the schedulers have their own"}


def test_names_of_other_programs_are_refused_with_ours(path: Path) -> None:
    meant = {name: ours for ours, names in OTHER_NAMES.items() for name in names}
    names = [*meant, *ELSEWHERE]
    lines = errors(path, f"prompt,{','.join(names)}\n3d dog face{',1' * len(names)}\n")
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        expected = f"the name {meant[name]}, " if name in meant else ELSEWHERE[name]
        assert line.startswith(f"column {name!r}: required ")
        assert expected in line
        assert line.endswith(f"(is it a label? The job can say so: labels: [{name}])")


def test_names_of_other_programs_are_labels_where_the_job_says_so(path: Path) -> None:
    names = [*(name for names in OTHER_NAMES.values() for name in names), *ELSEWHERE]
    path.write_text(f"prompt,{','.join(names)}\n3d dog face{',1' * len(names)}\n")
    manifest = read_manifest(path, DEFAULTS, MODELS, naming=Naming(labels=tuple(names)))
    assert keyframes(manifest)[0].labels == dict.fromkeys(names, 1)
    assert manifest.warnings == ()
    manifest.write(path.with_suffix(".parquet"))
    assert read_stored(path.with_suffix(".parquet")).fingerprint == manifest.fingerprint


def test_masks_are_refused(path: Path) -> None:
    line = error(path, "prompt,image,mask_image,strength,seed\n3d dog face,,mask.png,,1\n")
    assert line.startswith("column 'mask_image': required no column of this name: there is no inpainting; got")


# Separators.


def test_semicolons_and_decimal_commas(path: Path) -> None:
    manifest = csv(path, "prompt;seed;guidance;steps\r\n3d dog face;7;7,5;20\r\nflat castle, blue;8;6,0;20\r\n")
    assert [(row.prompt, row.seed, row.guidance, row.steps) for row in keyframes(manifest)] == [
        ("3d dog face", 7, 7.5, 20),
        ("flat castle, blue", 8, 6.0, 20),
    ]
    assert manifest.separated_by == ("semicolons",)


# Values.


def test_one_keyframe_of_many_frames(path: Path) -> None:
    line = error(path, "walk,prompt,seed,frames\nw,3d dog face,1,60\n")
    assert line == (
        "row 1, column 'frames': required two keyframes for a line of several frames (one alone can drift, circle or "
        "denoise: see column motion); got 60"
    )
    assert len(keyframes(csv(path, "walk,prompt,seed,frames\nw,3d dog face,1,1\nv,3d dog face,1,\n"))) == 2


def test_seeds(path: Path) -> None:
    good = ["18446744073709551615", "9223372036854775808", "4261553411.0", "112358132141"]
    manifest = csv(path, "prompt,seed\n" + "".join(f"a,{seed}\n" for seed in good))
    assert [row.seed for row in keyframes(manifest)] == [2**64 - 1, 2**63, 4261553411, 112358132141]
    bad = {
        "-1": "leave it empty: each still gets its own",
        "4.26155E+09": "looks rounded by a spreadsheet",
        "0x1F": "looks like hexadecimal: 31",
        '"1,024"': "looks like thousands with commas: 1024",
    }
    lines = errors(path, "prompt,seed\n" + "".join(f"a,{seed}\n" for seed in bad))
    assert all(f"({why}" in line for line, why in zip(lines, bad.values(), strict=True))


SAMPLERS = """\
Euler a|Euler|LMS|Heun|DPM2|DPM2 a|DPM++ 2S a|DPM++ 2M|DPM++ SDE|DPM++ 2M SDE|DPM++ 2M SDE Karras|DPM++ 3M SDE|DPM fast
DPM adaptive|LMS Karras|DPM++ 2M Karras|DPM++ SDE Karras|DDIM|PLMS|UniPC|Restart|LCM|plms|k_euler|k_euler_ancestral|k_lms
k_heun|k_dpm_2|EulerAncestralDiscreteScheduler|DPMSolverMultistepScheduler|PNDMScheduler|DDIMScheduler
UniPCMultistepScheduler|dpmpp_2m|dpmpp_2m_sde|dpmpp_sde|uni_pc|euler_ancestral|ddpm|DDPM|Euler Ancestral
dpm++2m |Flow Match Euler|FlowMatchEulerDiscreteScheduler"""


def test_samplers_are_understood_or_told_the_nearest(path: Path) -> None:
    names = [name for line in SAMPLERS.split("\n") for name in line.split("|")]
    with path.open("w", newline="") as file:
        csv_module.writer(file).writerows([["prompt", "scheduler"], *(["3d dog face", name] for name in names)])
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, MODELS)
    lines = str(caught.value).split("\n")[1:]
    refused = [name for name in names if scheduler_meant(name) not in DIFFUSION_SCHEDULERS]
    assert len(lines) == len(refused)
    for name, line in zip(refused, lines, strict=True):
        assert f"got {name!r}" in line
        assert "(nearest: " in line
    path.write_text(
        "prompt,scheduler\na,Euler a\nb,DPM++ 2M Karras\nc,PLMS\nd,uni_pc\ne,k_lms\nf,DPMSolverMultistepScheduler\n"
    )
    found = [row.scheduler for row in keyframes(read_manifest(path, DEFAULTS, MODELS))]
    assert found == ["euler_a", "dpm++2m karras", "pndm", "unipc", "lms", "dpm++2m"]


def test_nan_that_arrow_wrote(path: Path) -> None:
    columns = {"prompt": ["3d dog face", "3d cat face"], "seed": [42.0, np.nan], "steps": [4.0, np.nan]}
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"))
    manifest = read_manifest(path.with_suffix(".parquet"), DEFAULTS, MODELS)
    assert manifest.fingerprint == read_manifest(pd.DataFrame(columns), DEFAULTS, MODELS).fingerprint
    assert [row.steps for row in keyframes(manifest)] == [4, 20]


# Public tables as people publish them.


def of(path: Path, text: str, **naming: Any) -> Manifest:
    path.write_text(text, encoding="utf-8")
    return read_manifest(path, DEFAULTS, MODELS, naming=Naming(**naming))


def test_partiprompts(path: Path) -> None:
    """Tabs, a capital letter in `Prompt`, quotes as they stand in the text."""
    text = (
        "Prompt\tCategory\tChallenge\tNote\n"
        "bond\tAbstract\tBasic\tBiology-inspired concepts with multiple meanings\n"
        '"Deep Learning" written in white chalk, on a board\tAbstract\tWriting & Symbols\t\n'
        'a sign that says "Hello, World"\tAbstract\tWriting & Symbols\t\n'
    )
    manifest = of(path.with_suffix(".tsv"), text)
    assert [row.prompt for row in keyframes(manifest)] == [
        "bond",
        '"Deep Learning" written in white chalk, on a board',
        'a sign that says "Hello, World"',
    ]
    assert list(keyframes(manifest)[0].labels) == ["Category", "Challenge", "Note"]
    assert manifest.separated_by == ("tabs",)


def test_geneval(path: Path) -> None:
    """JSON Lines; lists of objects; a list of a text and a number, which Arrow has no type for."""
    text = (
        '{"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}\n'
        '{"tag": "position", "include": [{"class": "dog", "count": 1}, {"class": "cow", "count": 1, '
        '"position": ["right of", 0]}], "prompt": "a photo of a cow right of a dog"}\n'
    )
    first, second = keyframes(of(path.with_suffix(".jsonl"), text))
    assert first.prompt == "a photo of a bench"
    assert (first.labels["tag"], first.labels["include"]) == ("single_object", '[{"class": "bench", "count": 1}]')
    assert second.labels["include"].endswith('"position": ["right of", 0]}]')
    (alone,) = keyframes(of(path.with_suffix(".jsonl"), text.split("\n", maxsplit=1)[0]))
    assert alone.labels["include"] == [{"class": "bench", "count": 1}]


def test_captions_with_leading_zeros_in_their_ids(path: Path) -> None:
    """And a column `caption`, which the job has to name."""
    text = (
        "image_id,id,caption\n000000391895,0770337,A man with a red helmet\n000000522418,0681330,A woman cuts a cake\n"
    )
    path.write_text(text)
    line = error(path, text)
    assert line.endswith("(if it is 'caption', the job can say so: columns: {caption: prompt})")
    manifest = of(path, text, columns={"caption": "prompt"})
    assert [row.labels["image_id"] for row in keyframes(manifest)] == ["000000391895", "000000522418"]


def test_diffusiondb(path: Path) -> None:
    """Names of the store's columns and of other programs, each refused once and mapped once."""
    header = "image_name,prompt,seed,step,cfg,sampler,width,height,user_name,timestamp"
    text = f"{header}\na.png,a dog,1,50,7,k_lms,64,64,u,2022-08-07\n"
    columns = {"step": "steps", "cfg": "guidance", "sampler": "scheduler", "timestamp": "ignore"}
    for name, line in zip(columns, errors(path, text), strict=True):
        assert f"{{{name}: {columns[name]}}}" in line
    (row,) = keyframes(of(path, text, columns=columns))
    assert (row.steps, row.guidance, row.scheduler) == (50, 7.0, "lms")
    assert list(row.labels) == ["image_name", "user_name"]


def test_drawbench(path: Path) -> None:
    line = error(path, "Prompts,Category\nA red colored car.,Colors\n")
    assert "columns: {Prompts: prompt}" in line
