"""What a submission decides by itself: what it refuses, whether it begins the output, which names it gives."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from render.core import JobError, ObjectPath, StoreError
from render.job import JobConfig, load_job, this_machine
from render.prepare import prepare
from render.submit import submission
from render.submit.look import Look
from render.submit.package import pack
from render.submit.submission import (
    Submission,
    _check,
    _command,
    _hand_over,
    _left_behind,
    _load,
    _refuse_second,
    _why_not_begun,
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("prompt\na cat\n")
    return tmp_path / "a.csv"


def seen(output: object, uid: int = os.getuid(), shared: bool = True, **reads: bool) -> Look:
    node: dict[str, Any] = {"reads": reads, "writes": {str(output): ""}, "marks": [True], "here": [shared]}
    return Look("/bin/python", uid, {}, (), {str(output): "ext4"}, {"1": node}, {str(output): shared})


def job(table: Path, *overrides: str) -> JobConfig:
    return _load(table, [f"output={table.parent / 'out'}", *overrides])


def test_the_job_joins_the_cluster_that_it_runs_in(table: Path) -> None:
    assert job(table).workers.address == "auto"
    assert job(table, "workers.address=auto").workers.address == "auto"
    with pytest.raises(JobError, match=r"key 'workers\.address': required no address"):
        job(table, "workers.address=head:6379")


@pytest.mark.parametrize("given", [[], ["output=out/night"]])
def test_a_relative_output_is_refused_with_what_to_use(
    table: Path, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    with pytest.raises(JobError, match=r"key 'output': required a place that lasts, s3://BUCKET/PREFIX") as caught:
        _load(table, given)
    assert f"output={load_job(table, given).output}" in str(caught.value)


def test_the_output_of_a_job_file_counts(table: Path) -> None:
    (table.parent / "job.yaml").write_text(f"manifest: a.csv\noutput: {table.parent / 'night'}\n")
    assert _load(table.parent / "job.yaml", []).output == table.parent / "night"


def test_a_model_folder_has_to_be_seen_from_here(table: Path) -> None:
    with pytest.raises(JobError, match=r"model\.id: required a folder that this machine sees .* got /shared/models/x"):
        job(table, "model.id=/shared/models/x")


def test_who_begins_the_output(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = job(table)
    assert _why_not_begun(own, seen(own.output), weights=True) == ""
    assert "weights" in _why_not_begun(own, seen(own.output), weights=False)
    assert "not on this machine" in _why_not_begun(own, seen(own.output, shared=False), weights=True)
    assert _why_not_begun(own, seen(own.output, uid=0), weights=True) == ""
    assert "user 4711 could not write" in _why_not_begun(own, seen(own.output, uid=4711), weights=True)

    in_bucket = job(table, "output=s3://bucket/out")
    assert in_bucket.output == ObjectPath.parse("s3://bucket/out")
    monkeypatch.setattr(submission, "check_access", lambda *_, **__: None)
    assert _why_not_begun(in_bucket, seen("", uid=4711), weights=True) == ""

    def refuse(*_: object, **__: object) -> None:
        raise StoreError("s3://bucket/out: no credentials")

    monkeypatch.setattr(submission, "check_access", refuse)
    assert "can't be reached from here (s3://bucket/out: no credentials)" in _why_not_begun(in_bucket, seen(""), True)


def test_the_commands_of_the_first_submission_work_as_they_stand(table: Path) -> None:
    own = {"nightrender": "0", "output": "/shared/a", "submitted_by": "me@here"}
    stand: Any = SimpleNamespace(
        address="http://me:secret@head:8265",
        jobs=lambda: [{"submission_id": "a-1", "status": "PENDING", "metadata": own}],
    )
    with pytest.raises(StoreError) as caught:
        _refuse_second(stand, Path("/shared/a"))
    told = str(caught.value)
    assert "`render stop a-1 --address 'http://…@head:8265'` stops it" in told
    assert "`render logs a-1 --address 'http://…@head:8265' --follow` shows it" in told


def test_everything_that_is_wrong_is_told_at_once(table: Path, tmp_path: Path) -> None:
    own = job(table, f"model.id={table.parent}")
    package = pack(own, prepare(load_job(table)).manifest, limit_bytes=1)
    assert [group.what for group in package.left] == ["manifest"]
    look = seen(own.output, **{str(table.parent): False, str(table): False})
    with pytest.raises(JobError) as caught:
        _check(own, package, look, "required the libraries of nightrender on the nodes, got none of av")
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == ["model.id", "manifest"]
    assert "got none of av" in lines[0]
    assert f"got {table.parent} (not to be read on the head)" in lines[1]


class Taker:
    """A dashboard that keeps what is submitted."""

    address = "http://me:hunter2@head:8265"

    def __init__(self) -> None:
        self.given: list[Any] = []

    def submit(self, *values: Any) -> None:
        self.given.append(values)


SIGNED = "https://host/a.csv?X-Amz-Signature=SECRET"


def test_no_secret_is_submitted(table: Path, tmp_path: Path) -> None:
    taker: Any = Taker()
    own = job(table, "notify=[json://host/SECRET]")
    prepared = prepare(own, site=this_machine())
    overrides = ["notify=[json://host/SECRET]", "sampling.steps=3"]
    command = _command(SIGNED, overrides, taker.address)
    submission_facts = Submission(tmp_path, SIGNED, command, "no reason")
    done = _hand_over(taker, prepared, pack(own, prepared.manifest), seen(own.output), submission_facts)
    ((name, entrypoint, environment, metadata),) = taker.given
    assert (name, done.why_not_begun, metadata["target"]) == (done.id, "no reason", "https://host/a.csv")
    told = json.dumps([name, entrypoint, environment["env_vars"], metadata])
    assert "SECRET" not in told
    assert "hunter2" not in told
    with zipfile.ZipFile(environment["working_dir"]) as archive:
        assert b"SECRET" not in b"".join(archive.read(one) for one in archive.namelist())


def test_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert _command("jobs/a b.yaml", ["x=1"], "http://head:1") == (
        f"cd {tmp_path} && render submit 'jobs/a b.yaml' x=1 --address http://head:1"
    )
    assert _command(SIGNED, [], "http://head:1") == (
        "render submit https://host/a.csv --address http://head:1  # its address had a query, which is left out here"
    )


def test_urls_of_notices_that_stay_here_are_told(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [*_left_behind(job(table))]
    monkeypatch.setenv("RENDER_NOTIFY", "json://host/SECRET")
    (warning,) = _left_behind(job(table))
    assert warning.startswith("RENDER_NOTIFY: the URLs of this machine's environment do not travel")
    assert "SECRET" not in warning
    assert len([*_left_behind(job(table, "notify=[json://host/SECRET]"))]) == 2
