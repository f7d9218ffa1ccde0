"""A submission whose output is in a bucket, which head and workers reach with the credentials of their environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from buckets import SECRET, copy_of
from heads import Head
from stores import pixels

from render.cli import main
from render.core import ObjectPath
from render.submit import connect, list_jobs

pytest_plugins = ["stores", "buckets", "heads"]
pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_an_output_in_a_bucket(
    bucket: ObjectPath, head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "night.csv").write_text("walk,prompt,seed,frames,steps\na,3d dog,7,3,2\na,3d cat,8,,2\n")
    command = ["submit", str(tmp_path / "night.csv"), f"output={bucket}", "animation.formats=[]"]
    assert main([*command, "--wait", "--address", head.address]) == 0
    assert f"output     {bucket}\n" in capsys.readouterr().out
    assert main(["verify", str(bucket)]) == 0
    assert len(pixels(copy_of(bucket, tmp_path / "copy"))) == 4
    (job,) = [job for job in list_jobs(head.address) if job.output == str(bucket)]
    shown = repr([connect(head.address).job(job.id), connect(head.address).log(job.id)])
    assert SECRET not in shown
