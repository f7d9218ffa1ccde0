"""The command line: exit codes, plans, help, and how little is loaded for it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from stores import JOB, Finished, run_command

from render import cli
from render.cli import main
from render.core.errors import RunError
from render.models.model import Model, resolve_model
from render.run import Summary
from render.store.ledger import Ledger

pytest_plugins = ["stores"]

COMMANDS = ["run", "plan", "animate", "verify"]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.csv"
    path.write_text("prompt,steps\na cat,20\n,twenty\n", encoding="utf-8")
    return path


def fake_run(outcome: Summary | BaseException) -> Callable[..., Summary]:
    def run(*_: object, **__: object) -> Summary:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return run


# Exit codes.


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (Summary(Path("/o"), 5, 0, 0, (), (), 1.0, 1.0, 0.0), 0, ""),
        (Summary(Path("/o"), 4, 1, 0, (), (), 1.0, 1.0, 0.0), 3, ""),
        (
            RunError("the disk is full"),
            1,
            "render: the disk is full\nWhat is committed stays; the same command resumes.\n",
        ),
        (KeyboardInterrupt(), 1, "\nrender: stopped. What is committed stays; the same command resumes.\n"),
    ],
)
def test_exit_codes_of_run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    manifest: Path,
    outcome: Summary | BaseException,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(cli, "run_job", fake_run(outcome))
    assert main(["run", str(manifest)]) == code
    assert capsys.readouterr().err == said


def test_keys_may_stand_behind_options(capsys: pytest.CaptureFixture[str], manifest: Path) -> None:
    assert main(["plan", str(manifest), "sampling.steps=3", "--json", "workers.batch_rows=2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["batch_rows"], found["network_evaluations"]) == ({"main 128x128": 2}, 84)


@pytest.mark.parametrize("rest", [["--stil"], ["--json", "steps"], ["--json", "-x=1"]])
def test_other_words_behind_options_are_refused(
    capsys: pytest.CaptureFixture[str], manifest: Path, rest: list[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["plan", str(manifest), *rest])
    assert f"unrecognized arguments: {rest[-1]}" in capsys.readouterr().err


def test_a_command_without_keys_takes_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["verify", str(tmp_path), "a=b"])
    assert "unrecognized arguments: a=b" in capsys.readouterr().err


def test_the_ending_says_what_failed_and_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path
) -> None:
    monkeypatch.setattr(
        cli,
        "run_job",
        fake_run(
            Summary(Path("/o"), 4, 2, 1, (Path("/o/animations/a.gif"),), (Path("/o/sheets/a.png"),), 1.0, 1.0, 0.0)
        ),
    )
    assert main(["run", str(manifest)]) == 3
    said = capsys.readouterr().out
    assert "/o/animations/a.gif" in said
    assert "/o/sheets/a.png" in said
    assert "(4 images)" in said
    assert "load_dataset('/o', split='train')" in said
    assert "1 image is of a single colour" in said
    assert "2 frames; tracebacks are in /o/.run/quarantine" in said
    assert "bits  " not in said


def test_the_ending_names_images_whose_bits_are_not_fixed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manifest: Path
) -> None:
    monkeypatch.setattr(cli, "run_job", fake_run(Summary(Path("/o"), 4, 0, 0, (), (), 1.0, 1.0, 0.0, inexact=3)))
    assert main(["run", str(manifest)]) == 0
    assert "bits       of 3 images depend on their place in a batch" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["run", "plan"])
def test_a_bad_manifest_stops_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bad: Path, name: str
) -> None:
    assert main([name, str(bad), f"output={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("render: ")
    for part in (str(bad), "row 2", "column 'prompt'", "column 'steps'", "'twenty'"):
        assert part in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["plan", "no-such.csv"], "no-such.csv"),
        (["plan", "no-such.yaml"], "required a job file, got no such file"),
        (["plan", "SMALL", "sampling.stepz=3"], "nearest: sampling.steps"),
        (["plan", "SMALL", "store.format=gif"], "required one of png, webp, jpeg"),
        (["plan", "SMALL", "sampling.steps"], "required key=value"),
        (["plan", "SMALL", "model.id=nobody/nothing-of-that-name"], "nobody/nothing-of-that-name"),
        (["run", "SMALL", "animation.fps=60", "output=OUT"], "required at most 50 for GIF"),
        (["animate", "OUT"], "required the output folder of a run"),
        (["verify", "OUT"], "required the output folder of a run, got one without .run/plan.json"),
        (["verify", "OUT/none"], "required the output folder of a run, got no such folder"),
        (["sheets", "SMALL"], "small.csv: required the output folder of a run, got a file"),
        (["animate", "SMALL"], "small.csv: required the output folder of a run, got a file"),
        (["verify", "SMALL"], "small.csv: required the output folder of a run, got a file"),
        (["reproduce", "SMALL", "0"], "small.csv: required the output folder of a run, got one without .run/"),
        (["run", "SMALL", "output=SMALL"], "small.csv: required a new or empty folder, or one of a run; got a file"),
    ],
)
def test_bad_input_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, manifest: Path, arguments: list[str], part: str
) -> None:
    (tmp_path / "empty").mkdir()
    given = [text.replace("SMALL", str(manifest)).replace("OUT", str(tmp_path / "empty")) for text in arguments]
    assert main(given) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert part in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("arguments", [[], ["paint"], ["run"], ["plan", "a.csv", "--jsn"]])
def test_bad_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: render" in capsys.readouterr().err


@pytest.mark.slow
def test_a_quarantined_frame_is_exit_code_3(copied: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that fails again: without its image, the run ends with 3 and leaves the rest as it is."""
    from render import run

    record = Ledger(copied.out).folder.commits / "00003.json"
    receipt = json.loads(record.read_text())
    shard = copied.out / "data" / receipt["file"]
    table = pq.read_table(shard, partitioning=None)
    pq.write_table(table.slice(0, 1), shard)
    size = {"size_bytes": shard.stat().st_size}
    record.write_text(json.dumps({**receipt, **size, "frames": 1, "quarantined": [1]}))
    monkeypatch.setattr(run, "render_units", lambda *_: 0.0)
    assert main(["run", str(copied.manifest), *copied.overrides, f"output={copied.out}"]) == 3


# What is said of plans.


def test_plan_as_a_table(capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path) -> None:
    assert main(["plan", str(manifest), *JOB, "store.unit_frames=4", f"output={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = dict(line.split(maxsplit=1) for line in said.out.splitlines())
    known = [
        "manifest",
        "output",
        "models",
        "walks",
        "frames",
        "work",
        "disk",
        "workers",
        "compile",
        "label",
        "balance",
    ]
    assert list(lines) == known
    assert lines["label"] == "kind: int64, such as 1"
    assert lines["models"] == "main: starter"
    assert lines["walks"] == "1 and 5 stills"
    assert lines["frames"] == "14 in 4 units: main 128x128 (batches of 4)"
    assert lines["workers"] == "1 × 1 thread(s) on cpu"
    assert lines["compile"] == "no: on a CPU it saves little"
    assert not (tmp_path / "out").exists()


def test_plan_as_json(capsys: pytest.CaptureFixture[str], manifest: Path, tmp_path: Path) -> None:
    assert main(["plan", str(manifest), *JOB, "store.unit_frames=4", f"output={tmp_path / 'out'}", "--json"]) == 0
    facts, steps = json.loads(capsys.readouterr().out), int(JOB[0].removeprefix("sampling.steps="))
    assert facts == {
        "manifest": str(manifest),
        "separated_by": [],
        "output": str(tmp_path / "out"),
        "models": [{"name": "main", "id": "starter", "fingerprint": None}],
        "walks": 1,
        "stills": 5,
        "sweep": 1,
        "frames": 14,
        "frames_done": None,
        "balance": [
            {
                "column": "kind",
                "counts": [
                    {"value": one, "frames": frames} for one, frames in ((1, 9), (2, 2), (3, 1), (5, 1), (None, 1))
                ],
            }
        ],
        "units": 4,
        "pixels": 14 * 128 * 128,
        "network_evaluations": 9 * steps * 2 + 2 * steps * 2 + 5 * 2 + 4 + 2 * 2,
        "expected_bytes": facts["expected_bytes"],
        "batch_rows": {"main 128x128": 4},
        "compile": {"on": False, "reason": "on a CPU it saves little"},
        "workers": {"count": 1, "threads": 1, "gpus": 0.0, "device": "cpu"},
        "labels": [{"name": "kind", "type": "int64", "example": "1"}],
        "warnings": [],
    }


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.csv"
    path.write_text("prompt,model\n3d dog face,soft\n3d cat face,\n3d bear,soft\n", encoding="utf-8")
    return path


def test_plan_of_two_models(
    capsys: pytest.CaptureFixture[str], two: Path, starter: Model, sibling: Path, tmp_path: Path
) -> None:
    """With `--check-model` the weights are looked at; models that no row uses are not told of."""
    arguments = ["plan", str(two), f"models.soft.id={sibling}", "models.spare.id=starter", f"output={tmp_path / 'out'}"]
    arguments.append("workers.count=2")
    assert main(arguments) == 0
    assert f"models     soft: {sibling}, main: starter\n" in capsys.readouterr().out
    assert main([*arguments, "--check-model", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    prints = {model["name"]: model["fingerprint"] for model in facts["models"]}
    assert prints == {
        "soft": resolve_model(str(sibling), None, Path.cwd()).fingerprint,
        "main": starter.fingerprint,
    }
    assert facts["batch_rows"] == {"soft 64x64": 2, "main 128x128": 2}  # one frame of each worker
    assert main([*arguments, "--check-model"]) == 0
    assert f"models     soft: {sibling} (fingerprint {prints['soft']}), main: starter (" in capsys.readouterr().out


def test_plan_looks_at_weights_where_asked(
    capsys: pytest.CaptureFixture[str], two: Path, sibling: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(sibling, tmp_path / "bare", ignore=shutil.ignore_patterns("diffusion*.safetensors"))
    assert main(["plan", str(two), f"models.soft.id={bare}"]) == 0
    assert main(["plan", str(two), f"models.soft.id={bare}", "--check-model"]) == 2
    said = capsys.readouterr().err
    assert said == f"render: models.soft: model {bare}: required safetensors weights in unet/, got no weights\n"


def test_errors_of_all_models_at_once(capsys: pytest.CaptureFixture[str], two: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    style = tmp_path / "style.safetensors"
    assert main(["plan", str(two), f"model.id={tmp_path / 'empty'}", f"models.soft.loras=[{{path: {style}}}]"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "required a JSON file model_index.json" in first
    assert second.startswith(f"models.soft: model starter: required a safetensors file {style}")


@pytest.mark.parametrize("folder", [False, True])
def test_warnings_name_rows_of_the_source(tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: bool) -> None:
    (tmp_path / "a.csv").write_text("prompt\na cat\na cow\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("prompt\na dog\n" + "very " * 100 + "nice dog\n", encoding="utf-8")
    assert main(["plan", str(tmp_path if folder else tmp_path / "b.csv"), "sweep=[{guidance: 1..9}]"]) == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    where = str(tmp_path / "b.csv") if folder else "b"
    assert warning.startswith(f"warning: {where}: row 2: prompt over the model's token limit")


def test_plan_warns_of_lost_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("prompt\na cat\n" + "very " * 100 + "nice dog\n", encoding="utf-8")
    assert main(["plan", str(path)]) == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert "row 2: prompt over the model's token limit" in warning
    assert "dog" in warning


def test_plan_warns_of_jumps_and_of_frames_that_are_alike(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    header = "walk,prompt,seed,motion,frames,steps,anchor\n"
    jump, alike = "j,a,1,,4,4,\nj,b,1,,,5,\n", "s,a,1,,4,4,0.9\ns,b,1,,,4,\n"
    circle = "c,a,1,circle,4,5,\nc,a,2,,,,\n"
    path.write_text(header + jump + alike + circle, encoding="utf-8")
    assert main(["plan", str(path)]) == 0
    first, second = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert "row 1: steps or scheduler change within walk 'j'" in first
    assert "row 3: anchor leaves the frames of walk 's' no step of their own" in second


def test_plan_loads_no_heavy_library(manifest: Path) -> None:
    script = f"""
import sys
from render.cli import main
assert main(["plan", {str(manifest)!r}]) == 0
print([name for name in ("torch", "ray", "diffusers", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# Help.


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"render {importlib.metadata.version('nightrender')}\n"


def test_python_dash_m(short_tmp: Path) -> None:
    done = run_command(short_tmp, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("render ")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert f"\nexamples:\n  render {name} " in said
    assert "exit codes: 0 done; 2 bad input; 3 finished, with frames quarantined; 1 anything else" in " ".join(
        said.split()
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(re.search(rf"^ +{name} ", said, re.MULTILINE) for name in COMMANDS)


def test_animate_prints_what_it_writes(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["animate", str(copied.out), "animation.formats=[gif]"]) == 0
    assert capsys.readouterr().out == f"{copied.out}/animations/ball.gif\n"
