"""Signatures, passwords and keys: in no file that a run leaves, in nothing that it says, whatever goes wrong."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import painters
import pyarrow.parquet as pq
import pytest
from buckets import SECRET, VARIABLES, copy_of
from painters import painting
from safetensors.numpy import save_file
from test_remote_inputs import SETTINGS, TABLE, png
from web_server import SIGNATURE, Web

from render import open_store
from render.cli import main
from render.core import ObjectPath, Recipe
from render.store import Failure

pytest_plugins = ["buckets", "web_server"]

PAINT = painters.paint
TOKEN = "TESTONLY"  # in SIGNATURE, SECRET and all below
PASSWORD, REDIRECTED = f"hunter2{TOKEN}", f"id=1&X-Goog-Signature=9b{TOKEN}"
QUOTED = f"""Traceback (most recent call last):
  File "x.py", line 1, in <module>
ConnectionError: HTTPSConnectionPool(host='cdn', port=443): Max retries exceeded with url: /a?X-Amz-Signature={TOKEN}&x=1
HTTPError: 403 for https://me:{TOKEN}@cdn/a?sig={TOKEN}, headers {{'authorization': 'Bearer hf_{TOKEN}'}}"""


@pytest.fixture
def job(site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job whose manifest and LoRA have signed addresses; a start image is behind a redirect to another one."""
    save_file({"unet.x.lora_A.weight": np.zeros((4, 4), np.float32)}, tmp_path / "style.safetensors")
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    site.files |= {
        "/night/first.csv": TABLE.format("a.png").encode(),
        "/real.png": png(90),
        "/style.safetensors": (tmp_path / "style.safetensors").read_bytes(),
    }
    real = site.url("/real.png", REDIRECTED)
    site.fault = lambda _, path: f"to {real.replace('//', f'//me:{PASSWORD}@')}" if path == "/night/a.png" else ""
    (tmp_path / "style.safetensors").unlink()
    lora = site.url("/style.safetensors", SIGNATURE)
    settings = {
        "manifest": site.url("/night/first.csv", SIGNATURE),
        "model": {"loras": [{"path": lora, "weight": 0.5}]},
    }
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "job.yaml").write_text(json.dumps(settings))
    return tmp_path / "job" / "job.yaml"


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder, and what is packed in it: columns and footers of Parquet, chunks of PNG."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        yield path, path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path, partitioning=None)
            yield path, repr((table.schema.metadata, table.to_pylist())).encode()
        if path.suffix == ".png" and (found := path.read_bytes().partition(b"zTXt")[2]):
            yield path, zlib.decompressobj().decompress(found[found.index(b"\0") + 2 :])


def paint_or_fail(recipe: Recipe) -> object:
    return Failure(QUOTED, 2) if "rocket" in recipe.json else PAINT(recipe)


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_night_leaves_no_secret(
    place: str, job: Path, bucket: ObjectPath, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" if place == "folder" else bucket
    run = ["run", str(job), *SETTINGS, f"output={out}"]
    with painting(), patch.object(painters, "paint", paint_or_fail):
        assert main(["plan", str(job), *SETTINGS, f"output={out}"]) == 0
        assert main(["run", "--preview", "2", *run[1:]]) in (0, 3)
        assert main(run) == 3  # a frame is in quarantine
        assert main(run) == 3
    assert len(open_store(out)) == 4
    page = tmp_path / "report.html"
    for command in (["verify"], ["report"], ["report", "--html", str(page)], ["animate"], ["sheets"], ["compact"]):
        assert main([*command, str(out)]) in (0, 1, 3), command
    with painting(), patch.object(painters, "paint", side_effect=ConnectionError(QUOTED)):
        assert main(["retry", str(out)]) == 1  # the run ends with that error
    with pytest.raises(SystemExit):
        main(["run", "a.csv", f"--manifest=https://me:hunter2@host/a.csv?sig={TOKEN}"])
    assert main([*run, "media=https://host/other"]) == 2
    shown = "".join(capsys.readouterr())
    left = [out, out.with_name("out-preview"), tmp_path / "cache"]
    left = [copy_of(one, tmp_path / one.name) if isinstance(one, ObjectPath) else one for one in left]
    files = [(page, page.read_bytes()), *(file for folder in left for file in contents(folder))]
    assert {path.suffix for path, _ in files} >= {
        ".parquet",
        ".yaml",
        ".json",
        ".jsonl",
        ".html",
        ".png",
        ".mp4",
        ".md",
    }
    for secret in (TOKEN, VARIABLES["AWS_ACCESS_KEY_ID"], "X-Amz-Signature=5f", "hunter2"):
        assert secret not in shown
        assert [path for path, data in files if secret.encode() in data] == []
    assert "?…" in shown
    assert TOKEN in SECRET
