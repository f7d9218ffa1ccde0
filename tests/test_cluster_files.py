"""The files of jobs/cluster: against the schemas of those who read them, and the Slurm script on a stand-in for srun."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from stores import environment, processes_of, wait_until

from render.cli import _options
from render.job import load_job
from render.mending import verify_store

pytest_plugins = ["stores"]
FOLDER = Path(__file__).parents[1] / "jobs" / "cluster"
SRUN = """#!/usr/bin/env bash
echo "$@" >> "$STEPS"
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/usr/bin/env bash
case $1 in
show) printf '%s\\n' ${3//,/ } ;;
requeue) echo "$2" > "$REQUEUED" ;;
esac
"""


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return content


def commands() -> Iterator[list[str]]:
    """Words of every `render …` in a file that is no script; what stands for something else is filled in."""
    for path in sorted(FOLDER.glob("*.yaml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.search(r"\brender ((?:run|submit|plan) [^;]+)", line):
                text = found[1].replace("$TARGET", "s3://BUCKET/m.parquet").replace("$OUTPUT", "s3://BUCKET/out")
                yield shlex.split(text.replace("BUCKET", "bucket"), comments=True)


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_each_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":  # it has no comments
        assert json.loads(text)["description"].endswith("workers.metrics=true.")
        return
    header = [line.split()[1] for line in text.splitlines() if re.match(r"# [A-Z][a-z]+ {2,}", line)]
    assert header == ["Purpose", "Command", "Hardware", "Time"]
    assert f"jobs/cluster/{path.name}" in text


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_each_command_is_one(words: list[str]) -> None:
    options = _options(words)
    if str(options.target).startswith("s3:"):  # a job file is relative to the checkout
        load_job(options.target, options.overrides)


def test_ray_up() -> None:
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    content = read("ray-up.yaml")
    jsonschema.validate(content, schema)
    assert content["head_node_type"] in content["available_node_types"]
    assert "--dashboard-host=127.0.0.1" in content["head_start_ray_commands"][-1]


def test_versions_are_those_of_the_project() -> None:
    """Of Ray, in the image and in the job; and of the project."""
    import ray

    spec = read("rayjob.yaml")["spec"]["rayClusterSpec"]
    image = f"REGISTRY/nightrender:{version('nightrender')}"
    assert spec["rayVersion"] == ray.__version__
    assert f"FROM rayproject/ray:{ray.__version__}-py3" in (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert {one["image"] for pod in pods for one in pod["template"]["spec"]["containers"]} == {image}
    assert read("ray-up.yaml")["docker"]["image"] == image


@pytest.fixture
def slurm(tmp_path: Path, short_tmp: Path) -> dict[str, str]:
    """Environment of an allocation of two nodes, which are both here."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (
        ("srun", SRUN),
        ("scontrol", SCONTROL),
        ("render", f'#!/bin/sh\nexec {sys.executable} -m render "$@"\n'),
    ):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    return {
        **environment(short_tmp),
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "RAY_TMPDIR": str(short_tmp),
        "SLURM_JOB_ID": str(1000 + os.getpid() % 1000),
        "SLURM_JOB_NODELIST": "127.0.0.1,localhost",
        "STEPS": str(tmp_path / "steps"),
        "REQUEUED": str(tmp_path / "requeued"),
    }


@pytest.mark.slow
@pytest.mark.long
def test_the_slurm_script_renders_resumes_and_ends_what_it_started(
    slurm: dict[str, str], tmp_path: Path, short_tmp: Path
) -> None:
    """Near the time limit it ends the run in order and asks for another night; the same command then finishes."""
    (tmp_path / "m.csv").write_text("walk,prompt,seed,frames,steps\na,3d dog,7,60,8\na,3d cat,8,,8\n")
    job = (
        "workers.count=1",
        "workers.cpus=1",
        "store.unit_frames=2",
        "animation.formats=[]",
        f"output={tmp_path / 'out'}",
    )
    arguments = ["bash", str(FOLDER / "slurm.sh"), str(tmp_path / "m.csv"), *job]
    with (tmp_path / "said").open("w") as said:
        first = subprocess.Popen(arguments, env=slurm, stdout=said, stderr=said)
        commits = tmp_path / "out" / ".run" / "commits"
        wait_until(lambda: first.poll() is not None or list(commits.glob("[!.]*.json")), "the first commit")
        first.terminate()
        assert first.wait(60) == 1, (tmp_path / "said").read_text()
    assert (tmp_path / "requeued").read_text().strip() == slurm["SLURM_JOB_ID"]
    wait_until(lambda: not processes_of(short_tmp), "the end of every process")
    done = subprocess.run(arguments, env=slurm, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    verdict = verify_store(tmp_path / "out")
    assert (verdict.frames, verdict.findings) == (61, ())
    steps = (tmp_path / "steps").read_text().splitlines()
    assert [step.count("ray start --head") for step in steps] == [1, 0, 1, 0]
    wait_until(lambda: not processes_of(short_tmp), "the end of every process")
