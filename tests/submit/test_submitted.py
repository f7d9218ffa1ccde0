"""What is shown of jobs: a log that is followed over a broken connection, the facts of a job, exit codes, versions."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from heads import ROOT
from packaging.requirements import Requirement

from render import cli_cluster
from render.core import JobError, RunError
from render.job import load_job
from render.submit import jobs
from render.submit import look as submit_look
from render.submit.jobs import facts_of, follow, running_on
from render.submit.look import Look, Paths, inspect_cluster, site_of
from render.submit.probe import modules_hash
from render.submit.versions import differing, is_same_package, missing, requirements

LOG = "2026 INFO job_manager.py:581 -- Runtime env is setting up.\nRunning entrypoint for job a-1: render\none\ntwo\nthree"


def job(name: str = "a-1", status: str = "RUNNING", **facts: Any) -> dict[str, Any]:
    own = {"nightrender": "0.1.0", "output": "/out", "frames": "7", "submitted_by": "me@here", "target": "a.yaml"}
    times = {"start_time": 1795734521101, "end_time": None}
    return {"submission_id": name, "status": status, "metadata": own, **times, **facts}


class Stand:
    """A dashboard whose connections break."""

    address = "http://head:8265"

    def __init__(self, *found: dict[str, Any], breaks: tuple[int, ...] = ()) -> None:
        self._found, self._breaks = {one["submission_id"]: one for one in found}, list(breaks)

    def jobs(self) -> list[dict[str, Any]]:
        return [*self._found.values()]

    def job(self, name: str) -> dict[str, Any] | None:
        return self._found.get(name)

    async def follow(self, name: str) -> AsyncIterator[str]:
        until = self._breaks.pop(0) if self._breaks else len(LOG)
        for start in range(0, until, 10):
            await asyncio.sleep(0)
            yield LOG[start : min(start + 10, until)]
        if until < len(LOG):
            raise RunError("closed unexpectedly")
        self._found[name] |= {"status": "FAILED", "driver_exit_code": 3}


@pytest.mark.parametrize("breaks", [(), (5,), (len(LOG) - 12, 20, len(LOG) - 1), (0, 0)])
def test_every_line_is_shown_once(breaks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL_S", 0.0)
    shown: list[str] = []
    found = follow(Stand(job(), breaks=breaks), "a-1", shown.append)  # type: ignore[arg-type]
    assert shown == ["one", "two", "three"]
    assert (found.status, found.exit_code) == ("FAILED", 3)


class LostLog(Stand):
    """A dashboard that has no log, of a job that ends after some questions."""

    def __init__(self, *then: dict[str, Any] | None) -> None:
        super().__init__(job())
        self._then = [*then]

    def job(self, name: str) -> dict[str, Any] | None:
        return self._then.pop(0) if len(self._then) > 1 else self._then[0]

    async def follow(self, name: str) -> AsyncIterator[str]:
        raise RunError("404")
        yield ""


def test_a_job_whose_log_is_lost_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL_S", 0.0)
    stand: Any = LostLog(job(), job(), job(status="SUCCEEDED", driver_exit_code=0))
    assert follow(stand, "a-1", print).status == "SUCCEEDED"


def test_a_job_that_the_head_has_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL_S", 0.0)
    stand: Any = LostLog(job(), None)
    with pytest.raises(RunError, match=r"a-1: .*got one that it has forgotten .*; the same `render submit` goes on"):
        follow(stand, "a-1", print)


class Pending(Stand):
    """A dashboard that takes a stop only when it is asked again."""

    def __init__(self, takes: list[bool], *then: dict[str, Any]) -> None:
        super().__init__(*then)
        self._takes, self._then = takes, [*then]

    def job(self, name: str) -> dict[str, Any] | None:
        return self._then.pop(0) if len(self._then) > 1 else self._then[0]

    def stop(self, name: str) -> bool:
        return self._takes.pop(0)


@pytest.mark.parametrize(
    ("takes", "then", "status", "is_stopped"),
    [
        ([True], ["RUNNING", "RUNNING", "STOPPED"], "STOPPED", True),
        ([False, True], ["PENDING", "PENDING", "STOPPED"], "STOPPED", True),
        ([False], ["RUNNING", "SUCCEEDED"], "SUCCEEDED", False),
        ([], ["FAILED"], "FAILED", False),
    ],
)
def test_a_stop_is_asked_for_until_it_is_taken(
    takes: list[bool], then: list[str], status: str, is_stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Pending(takes, *(job(status=one) for one in then))
    monkeypatch.setattr(jobs, "POLL_S", 0.0)
    monkeypatch.setattr(jobs, "connect", lambda _: stand)
    found, was_going = jobs.stop_job("a-1", stand.address)
    assert (found.status, was_going, takes) == (status, is_stopped, [])


def test_another_programs_job_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Pending([], job("theirs", metadata={}))
    monkeypatch.setattr(jobs, "connect", lambda _: stand)
    with pytest.raises(JobError, match="got another program's: theirs; `ray job stop` stops it"):
        jobs.stop_job("theirs", stand.address)


def test_a_stop_that_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Pending([False] * 1000, job(status="PENDING"))
    monkeypatch.setattr(jobs, "POLL_S", 0.001)
    monkeypatch.setattr(jobs, "STOP_S", 0.02)
    monkeypatch.setattr(jobs, "connect", lambda _: stand)
    with pytest.raises(RunError, match="got one that goes on: pending"):
        jobs.stop_job("a-1", stand.address)


def test_names_of_others_do_not_reach_the_terminal_raw() -> None:
    found = replace(facts_of(job(status="FAILED")), output="/out\x1b[2J", submitted_by="me\r", exit_code=3)
    assert cli_cluster._row(found)[1:] == (
        "done with frames in quarantine (3)", "2026-11-26 23:08", "7", "/out\\x1b[2J", "me\\r"
    )  # fmt: skip


def test_a_job_is_found_by_the_beginning_of_its_name() -> None:
    stand: Any = Stand(
        job("night-1a"), job("night-2b"), job("other"), {"submission_id": "nobody's", "status": "RUNNING"}
    )
    assert jobs._found(stand, "night-2").id == "night-2b"
    assert jobs._found(stand, "nobody's").output == ""
    with pytest.raises(JobError, match="got night-1a, night-2b"):
        jobs._found(stand, "night")
    with pytest.raises(JobError, match="got 'nothing'"):
        jobs._found(stand, "nothing")


def test_who_renders_into_an_output() -> None:
    stand: Any = Stand(job("a", "FAILED"), job("b", "PENDING"), job("c", metadata={"nightrender": "0", "output": "/o"}))
    found = running_on(stand, "/out")
    assert found is not None
    assert found.id == "b"
    assert running_on(stand, "/elsewhere") is None


def test_facts_as_json() -> None:
    found = facts_of(job(driver_exit_code=None)).as_json()
    assert found["began"] == "2026-11-26T23:08:41+00:00"
    assert (found["id"], found["frames"], found["ended"]) == ("a-1", 7, None)


def test_the_reason_of_a_job_that_was_killed() -> None:
    said = "Job entrypoint command failed with exit code -9, last available logs (truncated to 20,000 chars):\n4 frames"
    found = facts_of(job(status="FAILED", driver_exit_code=-9, message=said))
    assert found.word == "failed: Job entrypoint command failed with exit code -9"


@pytest.mark.parametrize("frames", ["many", "-1", "9" * 5000, "²", None, [7]])
def test_a_number_of_frames_that_nobody_here_wrote(frames: object) -> None:
    own = {"nightrender": "0", "output": "/out", "frames": frames}
    assert facts_of(job(metadata=own)).frames == 0


@pytest.mark.parametrize(
    ("status", "exit_code", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 3, 3),
        ("FAILED", 2, 2),
        ("FAILED", 1, 1),
        ("FAILED", 137, 1),
        ("FAILED", None, 1),
        ("STOPPED", None, 1),
    ],
)
def test_exit_codes(status: str, exit_code: int | None, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_cluster._code(replace(facts_of(job()), status=status, exit_code=exit_code, message="Killed.\nx")) == code
    assert ("the same `render submit` goes on" in capsys.readouterr().err) == (exit_code in (137, None))


def look(**versions: str | tuple[str, ...]) -> Look:
    own = {name: (found,) if isinstance(found, str) else found for name, found in versions.items()}
    return Look("/bin/python", 0, own, (), {}, {}, {})


def test_versions_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.submit.versions.version", lambda _: "2.60.0")
    monkeypatch.setattr("platform.python_version", lambda: "3.12.1")
    needed = [Requirement("torch>=2.10,<2.14"), Requirement("av>=17")]
    assert [*differing(("2.60.0", "3.12.1"), needed, look(torch="2.13.0+cu130", av="17"))] == []
    assert [*differing(("2.59.0", "3.11.4"), needed, look(torch="2.9.1", av="17"))] == [
        "Ray is 2.59.0 on the cluster and 2.60.0 here",
        "Python is 3.11.4 on the cluster and 3.12.1 here",
        "torch is 2.9.1 on the cluster; tested are <2.14,>=2.10",
    ]
    assert [*differing(("2.60.0", "3.12.1"), needed, look(torch=("2.13.0", "2.9.1"), av="17"))] == [
        "torch is 2.9.1 on the cluster; tested are <2.14,>=2.10"
    ]


def test_what_is_not_installed_there_is_refused() -> None:
    needed = [Requirement("torch>=2"), Requirement("av>=17")]
    assert missing(needed, look(torch="2.13.0", av="17")) == ""
    assert "got none of av (pip install nightrender there" in missing(needed, look(torch="2.13.0", av=""))
    assert "got none of av (on some nodes: av)" in missing(needed, look(torch="2.13.0", av=("", "17")))


def test_the_package_travels_unless_all_nodes_have_it() -> None:
    own = modules_hash(ROOT / "render")
    assert is_same_package(replace(look(), packages=(own,)))
    assert not is_same_package(replace(look(), packages=(own, "another")))
    assert not is_same_package(replace(look(), packages=("", own)))


def test_nodes_without_workers_need_no_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are GPUs, those of nodes with a GPU count, and those of the head."""
    gpus = {"head": 0.0, "old": 1.0, "new": 1.0, "other": 0.0, "silent": 1.0}
    nodes = [
        {"node_id": name, "is_head_node": name == "head", "resources_total": {"GPU": count, "CPU": 1.0}}
        for name, count in gpus.items()
    ]
    torch = {"head": "2.13.0", "old": "2.9.1", "new": "2.13.0", "other": ""}
    looks = {name: {"versions": {"torch": own}, "package": own, "here": []} for name, own in torch.items()}
    answer = {"python": "python", "uid": 0, "mounts": {}, "nodes": looks | {"silent": None}}
    monkeypatch.setattr(submit_look, "_ask", lambda *_: answer)
    found = inspect_cluster(Stand(), nodes, Paths((), ()), ["torch"], tmp_path)  # type: ignore[arg-type]
    assert found.versions == {"torch": ("2.13.0", "2.9.1")}
    assert found.packages == ("", "2.13.0", "2.9.1")


def test_an_output_in_a_bucket_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [(name, line) for name, lines in project["optional-dependencies"].items() for line in lines]
    declared = [
        *project["dependencies"],
        'sometimes; python_version > "3"',
        'never; python_version < "3"',
        *(f'{line}; extra == "{name}"' for name, line in extras),
    ]
    monkeypatch.setattr("render.submit.versions.requires", lambda _: declared)
    (tmp_path / "a.csv").write_text("prompt\n3d dog\n")

    def names(output: str, *others: str, cells: tuple[str, ...] = ()) -> set[str]:
        return {one.name for one in requirements(load_job(tmp_path / "a.csv", [f"output={output}", *others]), cells)}

    assert names("s3://bucket/out") - names("/out") == {"boto3"}
    assert names("/out", "model.id=s3://bucket/sdxl") - names("/out") == {"boto3"}
    assert names("/out", "model.loras=[{path: 'gs://bucket/a.safetensors'}]") - names("/out") == {
        "google-cloud-storage"
    }
    assert names("/out", cells=("start.png", "az://bucket/b.png")) - names("/out") == {"azure-storage-blob"}
    assert {"torch", "ray", "diffusers"} <= names("/out")
    assert "sometimes" in names("/out")
    assert not {"pytest", "moto", "never"} & names("/out")


def test_what_a_cluster_has_is_the_sum_of_its_nodes() -> None:
    nodes = [{"resources_total": {"CPU": 16.0, "GPU": 8.0, "memory": 1e9}}, {"resources_total": {"CPU": 4.0}}]
    site = site_of(nodes)
    assert (site.cores, site.gpus, site.memory_bytes, site.is_cluster) == (20, 8.0, 10**9, True)
