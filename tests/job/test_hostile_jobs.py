"""Job files that were made to hurt: each a clear error, in bounded time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from odd_files import device, loop, pipe

from render.core.errors import JobError
from render.job.config import load_job

LINE_MAX = 1300  # characters of a line of an error, with its place


def refusal(target: Path, *overrides: str) -> str:
    begin = time.perf_counter()
    with pytest.raises(JobError) as caught:
        load_job(target, overrides)
    assert time.perf_counter() - begin < 5
    text = str(caught.value)
    assert max(map(len, text.splitlines())) < LINE_MAX
    return text


def bomb(levels: int) -> str:
    lines = [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(["b0: &a0 [x, x, x, x, x, x, x, x, x, x]", *lines])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(8), ["aliases that repeat over 100,000 values"]),
        ("sweep: &a [*a]", ["anchor 'a' inside of itself on line 2"]),
        ("sweep: {x: &a {y: *a}}", ["anchor 'a' inside of itself"]),
        ("sweep: " + "[" * 5000 + "]" * 5000, ["nesting depth"]),
        ("sweep:\n  " + "- " * 5000 + "x", ["more than 50 levels on line 3"]),
        ("sampling: {steps: 3, steps: 4}", ["key 'steps' on line 2 and again on line 2"]),
        ("seed: 1\nsampling: {steps: 3}\nseed: 2", ["key 'seed' on line 2 and again on line 4"]),
        ("sampling: {steps: 3}\nsampling.steps: 4", ["key 'sampling.steps'", "required once"]),
        (f"seed: {'9' * 5000}", ["an integer of 5,000 digits on line 2"]),
        (f"seed: 0x{'f' * 5000}", ["an integer of more than 300 digits on line 2"]),
        ("seed: 2001-99-99", ["month must be in 1..12 on line 2"]),
        ("seed: !!python/object/apply:os.system [id]", ["could not determine a constructor"]),
        ("seed: !!int x", ["on line 2"]),
        ("? [1]\n: 2", ["unhashable key"]),
        ("seed: !!set {a, b}", ["key 'seed'", "required another type"]),
        ("\n".join(f"k{n}: 1" for n in range(1001)), ["required at most 1,000 keys, got 1,002"]),
        (f"{'k' * 1000}: 1", ["required a known key", " … "]),
        (f"output: {'k' * 300}\nsampling: {{scheduler: {'d' * 6000}}}", ["key 'sampling.scheduler'", " … "]),
        ("a: 1\0", ["control characters"]),
    ],
)
def test_texts_that_are_refused(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"manifest: a.csv\n{text}\n")
    message = refusal(file)
    for word in [str(file), *words]:
        assert word in message


def test_large_job_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("sweep: [" + "1, " * 3 * 2**20 + "]")
    assert "over 8,388,608 (rows belong in a manifest)" in refusal(file)


def test_keys_that_are_merged_in_are_not_given_twice(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("manifest: a.csv\nsampling: {<<: {steps: 3, width: 64}, steps: 4}\n")
    job = load_job(file)
    assert (job.sampling.steps, job.sampling.width) == (4, 64)


def test_an_anchor_may_be_used_as_often_as_a_job_needs(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("manifest: a.csv\nsweep:\n- seed: &seeds [1, 2]\n- steps: *seeds\n- guidance: *seeds\n")
    assert load_job(file).sweep.count == 8


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (pipe, "got a pipe"),
        (device, "got a device"),
        (loop, "got a symbolic link to itself"),
        (Path.mkdir, "got a folder"),
        (lambda path: None, "got no such file"),
    ],
)
def test_what_is_no_file_is_not_opened(tmp_path: Path, make: Callable[[Path], None], got: str) -> None:
    file = tmp_path / "job.yaml"
    make(file)
    assert got in refusal(file)


def test_long_names_are_shortened() -> None:
    assert "file name too long" in refusal(Path("a" * 6000 + ".yaml"))
    refusal(Path("a" * 6000))
    refusal(Path("a.csv"), "a" * 6000)
    refusal(Path("a.csv"), "a" * 6000 + "=[")
    refusal(Path("a.csv"), "a" * 6000 + "=1")
    refusal(Path("a.csv"), "seed=" + "9" * 5000)


@pytest.mark.parametrize("key", ["manifest", "media", "model.id", "output"])
def test_a_link_to_itself_is_no_traceback(tmp_path: Path, key: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    file = tmp_path / "job.yaml"
    file.write_text("manifest: a.csv\n")
    load_job(file, (f"{key}={tmp_path / 'loop'}",))
    load_job(file, (f"model.loras=[{{path: {tmp_path / 'loop'}/a.safetensors}}]", f"{key}={'k/' * 5000}"))
