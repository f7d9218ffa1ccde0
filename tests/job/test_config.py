"""Jobs: what is read, what is refused and in which words."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from render.core.errors import JobError
from render.core.recipe import SEED_MAX
from render.job.config import load_job
from render.job.keys import JobConfig, LoraConfig, ModelConfig, to_yaml
from render.job.sweep import UNSWEPT


def job_file(folder: Path, text: str = "") -> Path:
    path = folder / "night.yaml"
    path.write_text(f"manifest: m.csv\n{text}", encoding="utf-8")
    return path


def errors_of(target: Path, *overrides: str) -> list[str]:
    with pytest.raises(JobError) as caught:
        load_job(target, overrides)
    return str(caught.value).splitlines()


def test_defaults_and_nested_keys(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, "seed: 3\nsampling:\n  steps: 7\n  guidance: 2\nanimation: {formats: [gif]}\n"))
    assert (job.seed, job.sampling.steps, job.sampling.guidance) == (3, 7, 2.0)
    assert job.animation.formats == ("gif",)
    assert (job.sampling.width, job.model.id, job.store.format) == (None, "starter", "png")
    assert job.all_models == {"main": ModelConfig()}


def test_a_job_is_frozen(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path))
    assert isinstance(job, JobConfig)
    with pytest.raises(FrozenInstanceError):
        job.sampling.steps = 4  # type: ignore[misc]


def test_overrides_in_their_order(tmp_path: Path) -> None:
    overrides = ["sampling.steps=4", "seed=9", "sampling.steps=5", "workers.batch_rows=null", "animation.formats=[mp4]"]
    job = load_job(job_file(tmp_path, "seed: 3\nworkers: {batch_rows: 4}\n"), overrides)
    assert (job.sampling.steps, job.seed, job.workers.batch_rows, job.animation.formats) == (5, 9, None, ("mp4",))


def test_an_override_s_value_may_hold_an_equals_sign(tmp_path: Path) -> None:
    assert load_job(job_file(tmp_path), ["sampling.negative_prompt=a=b"]).sampling.negative_prompt == "a=b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sampling: {stepz: 4}", ["key 'sampling.stepz'", "required a known key", "nearest: sampling.steps"]),
        ("steps: 4", ["key 'steps'", "nearest: sampling.steps"]),
        ("manifesto: 4", ["nearest: manifest"]),
        ("zzzzqqq: 4", ["none is near"]),
        ("sampling: 4", ["key 'sampling'", "keys below it", "sampling.steps"]),
        ("sampling: {steps: many}", ["key 'sampling.steps'", "required another type", "'many'"]),
        ("sampling: {steps: 4.5}", ["required another type", "4.5"]),
        ("seed: [1]", ["key 'seed'", "required another type", "[1]"]),
        ("animation: {formats: gif}", ["key 'animation.formats': required a list such as [gif], got 'gif'"]),
        ("sheets: {kinds: walk}", ["key 'sheets.kinds': required a list such as [walk], got 'walk'"]),
        ("sheets: {kinds: }", ["key 'sheets.kinds': required a list such as [walk], got None"]),
        ("sweep: {guidance: 1..3}", ["sweep: required a list of groups; got {'guidance': '1..3'}"]),
        ("sweep: 3", ["sweep: required a list of groups; got 3"]),
        ("sweep_limit: 0", ["key 'sweep_limit'", "from 1 to 1e+06; got 0"]),
        ("sweep_limit: 0\nsweep: [{seed: 1..20000}]", ["key 'sweep_limit'"]),
        (
            "sampling: {steps: '${oc.env:HOME}'}",
            ["key 'sampling.steps'", "required another type", "got '${oc.env:HOME}'"],
        ),
        ("sampling: {scheduler: '${x}'}", ["key 'sampling.scheduler'", "one of ddim", "got '${x}'"]),
        ("sampling: '${model}'", ["key 'sampling'", "keys below it"]),
        ("models: '${model}'", ["key 'models'", "required another type", "got '${model}'"]),
        ("animation: {formats: ['${x}']}", ["key 'animation.formats'", "gif, mp4, webp, apng", "got ['${x}']"]),
        ("model: {loras: [{path: '${x}'}]}", ["the path of a .safetensors file, got '${x}'"]),
        ("model: {loras: [{path: a.safetensors, weight: '???'}]}", ["required another type, got '???'"]),
        ("model: {loras: ['${x}']}", ["required another type, got ['${x}']"]),
        ('model: {id: "\\udc24"}', ["required a YAML file", "Unicode character escape", "line 2"]),
        ("sampling: {steps: 0}", ["key 'sampling.steps'", "from 1 to 998", "got 0"]),
        ("sampling: {guidance: -1}", ["a finite number from 0", "got -1"]),
        ("sampling: {guidance: .nan}", ["a finite number from 0", "got nan"]),
        ("sampling: {guidance: .inf}", ["a finite number from 0", "got inf"]),
        ("sampling: {scheduler: eulr}", ["key 'sampling.scheduler'", "one of ddim, pndm", "'eulr'", "nearest: euler"]),
        ("sampling: {easing: bouncy}", ["one of linear, smooth", "'bouncy'"]),
        ("seed: -1", [f"0 … {SEED_MAX}", "got -1"]),
        ("store: {format: gif}", ["one of png, webp, jpeg"]),
        ("animation: {formats: [gif, avi]}", ["key 'animation.formats'", "gif, mp4, webp, apng"]),
        ("output: ftp://bucket/night", ["key 'output'", "a folder that every worker can reach"]),
        ("output: s3://bucket", ["key 'output'", "or s3://, gs:// or az://BUCKET/PREFIX"]),
        ("output: s3://bucket/a/../b", ["key 'output'", "or s3://, gs:// or az://BUCKET/PREFIX"]),
        ("output: gs://bucket", ["key 'output'", "or s3://, gs:// or az://BUCKET/PREFIX"]),
        ("output: s3://KEY:SECRET@bucket/night", ["key 'output'", "s3:/…@bucket/night"]),
        ("animation: {subtitles: maybe}", ["key 'animation.subtitles'", "required another type"]),
        ("animation: {fps: 0}", ["key 'animation.fps'", "got 0"]),
        ("animation: {fps: 60}", ["key 'animation.fps'", "at most 50 for GIF", "got 60"]),
        ("animation: {crf: 52}", ["from 0 to 51", "got 52"]),
        ("workers: {deadline_s: 0}", ["key 'workers.deadline_s'"]),
        ("workers: {dtype: float16}", ["key 'workers.dtype'", "one of auto, float32, bfloat16", "nearest: bfloat16"]),
        ("workers: {batch_rows: 0}", ["key 'workers.batch_rows'", "from 1 to 4096", "got 0"]),
        ("workers: {batch_rows: 48}", ["key 'workers.batch_rows'", "a power of two on a CPU", "got 48"]),
        ("workers: {compile: maybe}", ["key 'workers.compile'", "one of auto, on, off", "got 'maybe'"]),
        ("workers: {compile: 1}", ["key 'workers.compile'", "one of auto, on, off"]),
        (
            "sampling: {prompt_syntax: compel}",
            ["key 'sampling.prompt_syntax'", "one of plain, weighted", "got 'compel'"],
        ),
        ("workers: {device: gpu}", ["key 'workers.device'", "one of auto, cpu, cuda"]),
        ("model: {dtype: float32}", ["key 'model.dtype'", "required a known key"]),
        ("model: {clip_skip: 0}", ["key 'model.clip_skip'", "from 1 to 100", "got 0"]),
        ("model: {tile_above: 8}", ["key 'model.tile_above'", "from 64 to 65536", "got 8"]),
        ("model: {loras: 3}", ["key 'model.loras'", "required a list such as [{path: a.safetensors}]", "got 3"]),
        ("model: {loras: {}}", ["key 'model.loras'", "required a list such as", "got {}"]),
        ("model: {loras: {path: x.safetensors}}", ["key 'model.loras.path'", "required a known key"]),
        ("model: {loras: [{pth: x}]}", ["key 'model.loras'", "got 'pth'", "nearest: path"]),
        ("model: {loras: [{weight: 2}]}", ["the path of a .safetensors file, got ''"]),
        ("model: {loras: [{path: style.ckpt}]}", ["the path of a .safetensors file, got 'style.ckpt'"]),
        ("model: {loras: [{path: a.safetensors, weight: .inf}]}", ["required a finite weight, got inf"]),
        ("model: {loras: [{path: a.safetensors, weight: much}]}", ["required another type", "'much'"]),
        ("models: {xl: {idd: starter}}", ["key 'models.xl.idd'", "nearest: models.xl.id"]),
        ("models: {xl: starter}", ["key 'models.xl'", "keys below it: models.xl.id, models.xl.revision"]),
        ("models: {main: {id: starter}}", ["key 'models.main.id'", "is not 'main'; got 'main'"]),
        ("models: {two words: {id: starter}}", ["letters, digits, '-' and '_'", "got 'two words'"]),
        ("models: {xl: {tile_above: 1}}", ["key 'models.xl.tile_above'", "from 64 to 65536"]),
        ("models: {xl: {loras: [{path: x}]}}", ["key 'models.xl.loras'", "the path of a .safetensors file, got 'x'"]),
        ("models: 4", ["key 'models'", "required another type"]),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, words: list[str]) -> None:
    path = job_file(tmp_path, text)
    (error,) = errors_of(path)
    for word in [str(path), *words]:
        assert word in error


@pytest.mark.parametrize(
    ("text", "compile"),
    [
        ("{count: 1}", "auto"),
        ("{compile: on}", "on"),
        ("{compile: off}", "off"),
        ("{compile: 'on'}", "on"),
        ("{compile: no}", "off"),
    ],
)
def test_on_and_off_are_words_here_although_yaml_reads_them_otherwise(tmp_path: Path, text: str, compile: str) -> None:
    job = load_job(job_file(tmp_path, f"workers: {text}"))
    assert job.workers.compile == compile
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(job))
    assert load_job(again).workers.compile == compile
    assert load_job(again, ["workers.compile=off"]).workers.compile == "off"


def test_any_batch_size_is_taken_on_a_gpu(tmp_path: Path) -> None:
    assert load_job(job_file(tmp_path, "workers: {batch_rows: 48, device: cuda}")).workers.batch_rows == 48


@pytest.mark.parametrize("text", ["animation: {formats: [mp4], fps: 60}", f"seed: {SEED_MAX}", "sampling: {steps: 1}"])
def test_what_is_just_allowed(tmp_path: Path, text: str) -> None:
    load_job(job_file(tmp_path, text))


SIGNS = ["${oc.env:HOME}", "a ${x}", "${", "???", r"\${x}", "$", "1e3", "null", "a: b #c", "?"]


@pytest.mark.slow
@pytest.mark.parametrize("text", SIGNS)
def test_text_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Whatever OmegaConf would make of it, and through a job that is written out, too."""
    monkeypatch.chdir(tmp_path)
    lora = {"path": f"{text}.safetensors", "weight": 1}
    own = {"id": text, "revision": text, "loras": [lora]}
    tree = {
        "manifest": f"{text}.csv",
        "output": text,
        "media": text,
        "model": own,
        "models": {"xl": own},
        "sampling": {"negative_prompt": text},
        "workers": {"address": text},
        "sweep": [{"prompt": [text, "b"], "c": [1, 2.5]}, {"negative_prompt": text}],
    }
    (tmp_path / "j.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    job = load_job(tmp_path / "j.yaml")
    model = ModelConfig(id=text, revision=text, loras=(LoraConfig(tmp_path / f"{text}.safetensors"),))
    assert job.all_models == {"main": model, "xl": model}
    assert (job.manifest, job.output, job.media) == (tmp_path / f"{text}.csv", tmp_path / text, tmp_path / text)
    assert (job.sampling.negative_prompt, job.workers.address) == (text, text)
    assert job.sweep.written == tuple(tree["sweep"])
    assert list(job.sweep.points()) == [
        {"prompt": p, "c": c, "negative_prompt": text} for p, c in [(text, 1), ("b", 2.5)]
    ]
    (tmp_path / "again.yaml").write_text(to_yaml(job), encoding="utf-8")
    assert load_job(tmp_path / "again.yaml") == job
    assert to_yaml(load_job(tmp_path / "again.yaml")) == to_yaml(job)
    again = load_job(
        tmp_path / "j.yaml", [f"sampling.negative_prompt={json.dumps(text)}", f"sweep={json.dumps(job.sweep.written)}"]
    )
    assert (again, again.sweep.written) == (job, job.sweep.written)


@pytest.mark.parametrize("text", ["sweep:", "sweep: null", "sweep: []"])
def test_no_sweep(tmp_path: Path, text: str) -> None:
    assert load_job(job_file(tmp_path, text)).sweep == UNSWEPT
    assert load_job(job_file(tmp_path, "sweep: [{seed: 1..3}]"), ["sweep="]).sweep == UNSWEPT


def test_a_key_below_sweep(tmp_path: Path) -> None:
    (error,) = errors_of(job_file(tmp_path), "sweep.guidance=1..3")
    assert error.endswith(
        "key 'sweep.guidance': required a list of groups as the value of 'sweep', got 'sweep.guidance'"
    )


def test_all_errors_at_once_each_with_its_place(tmp_path: Path) -> None:
    path = job_file(tmp_path, "stepz: 1\nsampling: {steps: 0, width: wide}\n")
    errors = errors_of(path, "seed=-1", "sampling.schedular=ddim")
    assert len(errors) == 5
    assert sum(error.startswith(f"{path}: ") for error in errors) == 3
    assert any(error.startswith("override 'seed=-1': key 'seed'") for error in errors)
    assert any("sampling.schedular" in error and "nearest: sampling.scheduler" in error for error in errors)


@pytest.mark.parametrize(
    ("override", "words"),
    [("steps", "required key=value"), ("=4", "required key=value"), ("seed=[", "required a YAML value")],
)
def test_overrides_that_are_none(tmp_path: Path, override: str, words: str) -> None:
    (error,) = errors_of(job_file(tmp_path), override)
    assert words in error
    assert override in error


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("j.yaml", None, "no such file"),
        ("j.yaml", b"a: [", "required a YAML file"),
        ("j.yaml", b"\xff\xfe\x00", "required a YAML file"),
        ("j.yaml", b"- a\n", "required a mapping of keys, got list"),
        ("j.yaml", b"", "required a mapping of keys, got NoneType"),
        ("j.yaml", b"seed: 1\n", "key 'manifest': required a path, got none"),
        (
            "j.json",
            b"{}",
            "or a manifest (.csv, .tsv, .jsonl, .ndjson, .txt, .parquet or a folder), got '.json' (JSON: one object a line",
        ),
    ],
)
def test_files_that_are_no_job(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    errors = errors_of(tmp_path / name)
    assert words in "\n".join(errors)
    assert str(tmp_path / name) in errors[0]


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest and a model folder stand beside the job; the output goes where the command is given."""
    jobs, elsewhere = tmp_path / "jobs", tmp_path / "elsewhere"
    for folder in (jobs, elsewhere, tmp_path / "models" / "mine"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    job = load_job(job_file(jobs, "model: {id: ../models/mine}\noutput: there\n"))
    assert job.manifest == jobs / "m.csv"
    assert job.model.id == str(tmp_path / "models" / "mine")
    assert job.output == elsewhere / "there"
    assert load_job(job_file(jobs)).output == elsewhere / "out" / "night"


def test_several_models(tmp_path: Path) -> None:
    """All of their paths stand beside the job; an override may name one that the file does not."""
    (tmp_path / "mine").mkdir()
    text = "model: {clip_skip: 2}\nmodels:\n  xl: {id: mine, loras: [{path: a.safetensors, weight: 1}]}\n"
    overrides = ["models.xl.tile_above=null", "models.b-2.id=owner/name", "models.b-2.loras=[{path: /b.safetensors}]"]
    job = load_job(job_file(tmp_path, text), overrides)
    assert job.all_models == {
        "main": ModelConfig(clip_skip=2),
        "xl": ModelConfig(
            id=str(tmp_path / "mine"), loras=(LoraConfig(tmp_path / "a.safetensors", 1.0),), tile_above=None
        ),
        "b-2": ModelConfig(id="owner/name", loras=(LoraConfig(Path("/b.safetensors")),)),
    }
    assert list(job.all_models) == ["main", "xl", "b-2"]


def test_a_hub_id_stays_as_it_is(tmp_path: Path) -> None:
    assert load_job(job_file(tmp_path, "model: {id: owner/name}\n")).model.id == "owner/name"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_manifest_as_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.chdir(tmp_path)
    job = load_job(Path(f"walks{suffix}"), ["seed=4"])
    assert job.manifest == tmp_path / f"walks{suffix}"
    assert job.output == tmp_path / "out" / "walks"
    assert job.seed == 4


def test_a_job_written_out_is_the_same_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "seed: 3\nsampling: {negative_prompt: 'no: \"x\"', steps: 4}\nanimation: {fps: 24, formats: [mp4]}\n"
    text += (
        "model: {loras: [{path: a.safetensors, weight: 0.5}]}\nmodels: {xl: {clip_skip: 1}, b: {tile_above: null}}\n"
    )
    job = load_job(job_file(tmp_path, text))
    again = tmp_path / "sub" / "again.yaml"
    again.parent.mkdir()
    again.write_text(to_yaml(job), encoding="utf-8")
    monkeypatch.chdir(again.parent)
    assert load_job(again) == job
