"""Submissions to a real head on loopback: to their end, stopped and gone on, followed, refused."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from heads import ROOT, TOKEN, Head, token
from stores import heeded, pixels, run_here, wait_until

from render.cli import main
from render.core import JobError
from render.submit import connect, find_job, list_jobs, look, submission, submit_job, versions
from render.submit.client import Dashboard
from render.submit.look import Paths, inspect_cluster
from render.submit.package import package_modules

pytest_plugins = ["stores", "buckets", "heads"]
pytestmark = pytest.mark.slow

SMALL = ("sampling.steps=2", "sampling.width=32", "sampling.height=32", "animation.formats=[]", "workers.batch_rows=2")
ONE = ("workers.count=1", "workers.cpus=1")
TABLE = "walk,prompt,seed,frames,image,strength\nball,3d dog,7,3,,\nball,3d cat,8,,,\n,3d dog,1,,start.png,0.5\n"


@pytest.fixture(scope="module")
def at(head: Head) -> Dashboard:
    return connect(head.address)


@pytest.fixture(autouse=True)
def address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head's, as the environment has it."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", request.getfixturevalue("head").address)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A walk, and a still that begins with a picture beside the table."""
    shutil.copy(next((ROOT / "manifests" / "gallery").glob("*.png")), tmp_path / "start.png")
    (tmp_path / "night.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path / "night.csv"


def started(at: Dashboard, entrypoint: str, output: str = "") -> str:
    """A job of a shell command that counts as one of ours; returns its id."""
    name = f"fake-{time.monotonic_ns()}"
    at.submit(name, entrypoint, {}, {"nightrender": "0", "output": output, "submitted_by": "me@here"})
    return name


def test_a_job_is_submitted_and_waited_for(
    at: Dashboard, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(versions, "platform", SimpleNamespace(python_version=lambda: "3.12.99"))
    assert main(["submit", str(table), "--wait", *SMALL, *ONE, f"output={out}"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    (job,) = [job for job in list_jobs() if job.output == str(out)]
    assert lines[0] == f"submitted  {job.id}: 5 frames"
    assert f"render logs {job.id} --follow" in said.out
    assert "5 frames; starting workers" in lines
    assert "frames are done" in lines
    assert f"warning: Python is {platform.python_version()} on the cluster and 3.12.99 here" in said.err.splitlines()
    assert not [line for line in lines if "Running entrypoint" in line or "Runtime env" in line]
    assert (job.status, job.exit_code, job.frames, job.target) == ("SUCCEEDED", 0, 5, str(table))
    assert main(["status", job.id]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"job         {job.id}: succeeded\noutput      {out}\nstate       done")
    shutil.move(out, tmp_path / "moved")
    assert main(["status", job.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["job"]["status"] == "SUCCEEDED"
    shutil.move(tmp_path / "moved", out)
    assert main(["verify", str(out)]) == 0
    run_here(table, *SMALL, *ONE, f"output={tmp_path / 'here'}")
    assert pixels(out) == pixels(tmp_path / "here")
    assert TOKEN not in said.out + said.err + at.log(job.id) + json.dumps(at.job(job.id))


def test_the_output_is_begun_before_the_job_runs(
    at: Dashboard, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the package travels where another one is installed."""
    given: list[tuple[str, dict[str, Any], dict[str, str]]] = []

    def submit(_: object, name: str, entrypoint: str, runtime_env: dict[str, Any], metadata: dict[str, str]) -> None:
        with zipfile.ZipFile(str(runtime_env["working_dir"])) as archive:
            given.append((entrypoint, runtime_env | {"names": sorted(archive.namelist())}, metadata))
        assert (tmp_path / "out" / ".run" / "plan.json").exists()

    warned: list[str] = []
    with monkeypatch.context() as patched:
        asked = Dashboard.submit
        patched.setattr(
            Dashboard, "submit", lambda own, name, *rest: (asked if "probe" in name else submit)(own, name, *rest)
        )
        patched.setattr(submission, "is_same_package", lambda _: False)
        done = submit_job(at, table, (*SMALL, f"output={tmp_path / 'out'}"), warned.append)
    ((entrypoint, environment, metadata),) = given
    assert environment["names"] == ["inputs/manifest/night.csv", "inputs/media/start.png", "job.yaml"]
    assert entrypoint.endswith(" -m render run job.yaml")
    place, _, command = environment["env_vars"]["RENDER_COMMAND"].partition(" && ")
    assert shlex.split(place) == ["cd", str(Path.cwd())]
    again = shlex.split(command)
    assert again == ["render", "submit", str(table), *SMALL, f"output={tmp_path / 'out'}", "--address", at.address]
    assert metadata["output"] == str(tmp_path / "out")
    assert (done.frames_done, done.why_not_begun, done.brings_package) == (0, "", True)
    package, record = environment["py_modules"]
    assert package == str(ROOT / "render")
    assert record.endswith(".dist-info")


@pytest.mark.long
def test_the_package_that_travels_is_the_one_that_runs(at: Dashboard, tmp_path: Path) -> None:
    script = "import importlib.metadata, render; print(render.__file__, importlib.metadata.version('nightrender'))"
    modules = {"py_modules": package_modules(tmp_path), "excludes": ["__pycache__"]}
    at.submit("modules", f"python -c {shlex.quote(script)}", modules, {"nightrender": "0"})
    wait_until(lambda: not find_job("modules").goes_on, "the end of the job")
    last = at.log("modules").splitlines()[-1]
    assert "py_modules_files" in last
    assert last.endswith(f" {version('nightrender')}")


@pytest.mark.long
def test_looks_at_the_cluster_do_not_fill_the_list(
    at: Dashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("render-probe-old", "other-old"):
        at.submit(name, "true", {}, {})
        wait_until(lambda name=name: not find_job(name).goes_on, "the end of the job")  # type: ignore[misc]
    monkeypatch.setattr(look, "KEPT_S", 0.0)
    inspect_cluster(at, at.nodes(), Paths((), ()), [], tmp_path)
    left = {job["submission_id"] for job in at.jobs()}
    assert "other-old" in left
    assert "render-probe-old" not in left


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("exit 3", 3),
        pytest.param("exit 2", 2, marks=pytest.mark.long),
        pytest.param("kill -9 $$", 1, marks=pytest.mark.long),
    ],
)
def test_the_exit_code_of_the_run_is_that_of_who_follows(
    at: Dashboard, ends: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    name = started(at, f"echo one; echo two >&2; sleep 0.5; echo three; {ends}")
    assert main(["logs", name, "--follow"]) == code
    said = capsys.readouterr()
    assert said.out.splitlines() == ["one", "two", "three"]
    assert ("failed:" in said.err) == (code == 1)
    assert main(["logs", name[:-1]]) == 0  # by the beginning of it
    assert capsys.readouterr().out.splitlines() == ["one", "two", "three"]


def test_the_second_submission_to_an_output_is_told_of_the_first(
    at: Dashboard, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    name = started(at, "echo begun; sleep 300", str(out))
    assert main(["submit", str(table), f"output={out}"]) == 2
    said = capsys.readouterr().err
    assert f"required that no other job renders there, got one that does: {name}, since" in said
    assert f"render stop {name}" in said
    assert not out.exists()

    wait_until(lambda: "begun" in at.log(name), "the job's first line")
    assert main(["jobs"]) == 0
    assert any(line.split()[:2] == [name, "running"] for line in capsys.readouterr().out.splitlines())
    assert main(["stop", name]) == 0
    assert f"{name} is stopped" in capsys.readouterr().out
    assert main(["stop", name]) == 1
    assert main(["logs", name, "--follow"]) == 1
    assert "was stopped. What is committed stays" in capsys.readouterr().err
    assert main(["jobs", "--json"]) == 0
    (found,) = [job for job in json.loads(capsys.readouterr().out) if job["id"] == name]
    assert (found["status"], found["output"], found["submitted_by"]) == ("STOPPED", str(out), "me@here")


def test_who_stops_following_stops_nothing(at: Dashboard, head: Head) -> None:
    """Ctrl-C on a terminal is a SIGINT for the one who follows."""
    name = started(at, "echo begun; sleep 300")
    command = [sys.executable, "-m", "render", "logs", name, "--follow"]
    own = {**head.environment, "RAY_API_SERVER_ADDRESS": at.address}
    with (
        heeded(),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own) as follower,
    ):
        assert follower.stdout
        assert follower.stdout.readline() == "begun\n"
        follower.send_signal(signal.SIGINT)
        _, said = follower.communicate(timeout=100)
    assert follower.returncode == 1
    assert said == f"\n{name} goes on. render logs {name} --follow shows it, render stop {name} stops it\n"
    assert at.job(name)["status"] == "RUNNING"  # type: ignore[index]
    assert at.stop(name)


def test_a_job_that_is_not_there(head: Head, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("logs", "stop"):
        assert main([command, "nobody"]) == 2
        assert (
            "required one of the jobs that `render jobs` lists, or the beginning of one; got 'nobody'"
            in capsys.readouterr().err
        )


@pytest.mark.parametrize(
    ("value", "got"), [("", "got none"), ("f" * 32, "got one that refuses the token")], ids=["none", "wrong"]
)
def test_without_the_token_of_the_head(head: Head, tmp_path: Path, value: str, got: str) -> None:
    with token(value, tmp_path), pytest.raises(JobError) as caught:
        connect(head.address)
    assert got in str(caught.value)
    assert "RAY_AUTH_TOKEN" in str(caught.value)
    assert (value or TOKEN) not in str(caught.value)


def test_a_token_may_be_kept_back(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(JobError, match="RAY_AUTH_MODE=disabled keeps it back"):
        connect(head.address)


def test_what_no_node_can_reach_is_refused(at: Dashboard, table: Path, tmp_path: Path) -> None:
    """With what to use instead, and nothing is submitted."""
    before = len(at.jobs())
    (tmp_path / "file").write_text("")
    refused = {
        "output=out/night": "required a place that lasts, s3://BUCKET/PREFIX",
        f"output={tmp_path / 'file' / 'out'}": "is a file",
        f"workers.address=127.0.0.1:{1}": "required no address",
    }
    for override, reason in refused.items():
        own = [override] if override.startswith("output") else [override, f"output={tmp_path / 'out'}"]
        with pytest.raises(JobError) as caught:
            submit_job(at, table, (*SMALL, *own), print)
        assert reason in str(caught.value)
    assert len(at.jobs()) == before
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".render-mark*"))


@pytest.mark.long
def test_a_stopped_job_goes_on_by_the_same_command(
    at: Dashboard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.csv").write_text("walk,prompt,seed,frames,steps\na,3d dog,7,49,8\na,3d cat,8,,8\n")
    out = tmp_path / "out"
    submit = [
        "submit",
        str(tmp_path / "long.csv"),
        "store.unit_frames=2",
        "animation.formats=[]",
        *ONE,
        f"output={out}",
    ]
    assert main(submit) == 0
    commits = out / ".run" / "commits"
    wait_until(lambda: list(commits.glob("[!.]*.json")), "the first commit")
    (job,) = [job for job in list_jobs() if job.output == str(out)]
    assert main(["stop", job.id]) == 0
    assert "render: stopped. What is committed stays" in at.log(job.id)
    kept = {path.name: path.read_bytes() for path in commits.glob("[!.]*.json")}
    assert 0 < len(kept) < 25
    capsys.readouterr()
    assert main([*submit, "--wait"]) == 0
    assert "of them done before" in capsys.readouterr().out
    assert {name: (commits / name).read_bytes() for name in kept} == kept
    assert main(["verify", str(out)]) == 0
