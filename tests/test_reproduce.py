"""A stored frame made again, alone, has the stored bits."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stores import Finished, run_here

from render import StoreError, open_store
from render.cli import main
from render.reproduce import psnr_db, reproduce_frame
from render.store.encode import encode_image
from render.store.ledger import Ledger

pytest_plugins = ["stores"]


@pytest.mark.slow
def test_every_frame_has_the_stored_bits(finished: Finished) -> None:
    """Of a walk, of stills, rendered in company and now alone."""
    rows = open_store(finished.out).dataset().to_table(columns=["key", "walk", "frame", "sha256"]).to_pylist()
    for row in rows[::4]:
        found = reproduce_frame(finished.out, row["key"])
        assert (found.walk, found.frame, found.sha256_now) == (row["walk"], row["frame"], row["sha256"])
        assert found.same
        stored = open_store(finished.out).frame(row["walk"], row["frame"]).image()
        assert np.array_equal(found.pixels, np.asarray(stored))


@pytest.mark.slow
def test_frames_of_every_motion_have_the_stored_bits(tmp_path: Path) -> None:
    table = "walk,prompt,seed,frames,motion,loop,step_size,direction,vary_noise,image,anchor,tween\n"
    table += "g,3d dog face,1,2,grid,,,,yes,,,\ng,3d cat face,1" + "," * 9 + "\n"
    table += "g,flat dog face,1" + "," * 9 + "\ng,flat cat face,1" + "," * 9 + "\n"
    table += "d,3d rocket,3,3,drift,,0.1,random,,,,\nc,3d octopus,1,3,circle,,,,,,,\nc,3d octopus,2" + "," * 9 + "\n"
    table += "z,3d bear,1,2,,cycle,,,,,,\nz,3d crab,4,2,,,,,,,,\ne,3d bear,1,,denoise,,,,,,,\n"
    table += "f,3d bear,1,,diffuse,,,,,red.png,,\nh,3d bear,1,2,,,,,,,0.7,2\nh,3d crab,1" + "," * 9 + "\n"
    PIL.Image.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "red.png")
    manifest = tmp_path / "moving.csv"
    manifest.write_text(table)
    small = ("sampling.steps=3", "sampling.width=64", "sampling.height=64", "workers.count=1", "workers.cpus=1")
    out = run_here(manifest, *small, "animation.formats=[gif]", f"output={tmp_path / 'out'}").out
    store = open_store(out)
    assert {name: len(store.frames(name)) for name in store.walks} == {
        "g": 4,
        "d": 3,
        "c": 3,
        "z": 4,
        "e": 4,
        "f": 4,
        "h": 7,
    }
    for name in store.walks:
        frame = store.frames(name)[-2]
        assert reproduce_frame(out, frame.row["key"]).same, name
    assert sorted(path.name for path in (out / "animations").iterdir()) == [f"{name}.gif" for name in "cdefghz"]


@pytest.mark.slow
def test_frames_of_weighted_prompts_have_the_stored_bits(tmp_path: Path) -> None:
    """A walk from one window of tokens to several, with a long negative prompt; a still without weights as if plain."""
    manifest = tmp_path / "weights.csv"
    long = "3d cat face on a blue background " * 5
    manifest.write_text(
        f"walk,prompt,negative_prompt,seed,frames\nw,(3d dog face:1.3) [cat],bad,1,3\nw,{long}(cat:0.7),{long * 2},2,\n"
        ",3d dog face,bad,1,\n,(3d dog face:1.4),bad,1,\n"
    )
    small = ("sampling.steps=3", "workers.count=1", "workers.cpus=1", "workers.batch_rows=4", "animation.formats=[]")
    weighted = run_here(manifest, *small, "sampling.prompt_syntax=weighted", f"output={tmp_path / 'weighted'}").out
    plain = run_here(manifest, *small, f"output={tmp_path / 'plain'}").out
    for place in (("w", 0), ("w", 2), ("w", 3), ("still-000004", 0)):
        row = open_store(weighted).frame(*place).row
        assert reproduce_frame(weighted, row["key"]).same, place
        assert json.loads(row["recipe"])["prompt_syntax"] == "weighted"
        assert row["sha256"] != open_store(plain).frame(*place).row["sha256"]
    same, other = (open_store(out).frame("still-000003").row for out in (weighted, plain))
    assert same["sha256"] == other["sha256"]


@pytest.mark.slow
def test_the_command_tells_and_takes_the_first_digits(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    frame = open_store(finished.out).frames("ball")[3]
    assert main(["reproduce", str(finished.out), frame.row["key"][:10]]) == 0
    assert capsys.readouterr().out == "ball 3: the same bits\n"


@pytest.mark.slow
def test_the_command_says_nothing_else(finished: Finished) -> None:
    """The model is loaded in its process; the libraries' bars and warnings are not its own."""
    key = open_store(finished.out).frame("ball", 3).row["key"]
    command = [sys.executable, "-m", "render", "reproduce", str(finished.out), key]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("ball 3: the same bits\n", "")


@pytest.mark.slow
def test_other_bits_are_told(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a store whose hashes are those of other pixels."""
    out = Path(shutil.copytree(finished.out, tmp_path / "out"))
    receipt = next(iter(Ledger(out).receipts()))
    shard = out / "data" / str(receipt.file)
    table = pq.read_table(shard)
    wrong = pa.array(["0" * 64] * len(table))
    pq.write_table(table.set_column(table.schema.get_field_index("sha256"), "sha256", wrong), shard)
    assert main(["reproduce", str(out), table["key"][0].as_py()]) == 1
    assert f"stored  {'0' * 64}" in capsys.readouterr().out


def inexact(finished: Finished, out: Path, paint: bool) -> str:
    """Copy a store as if its card had no safe places: other bits, or with `paint` another picture; return a key."""
    shutil.copytree(finished.out, out)
    receipt = next(iter(Ledger(out).receipts()))
    shard = out / "data" / str(receipt.file)
    table = pq.read_table(shard)
    rows = table.to_pylist()
    picture = np.array(PIL.Image.open(io.BytesIO(rows[0]["image"]["bytes"])).convert("RGB"))
    picture[0, 0, 0] ^= 1  # the last bit of a level
    if paint:
        picture[:] = 255 - picture
    rows[0] |= {"exact": False, "sha256": "0" * 64}
    rows[0]["image"]["bytes"] = encode_image(picture, "png")
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), shard)
    return str(rows[0]["key"])


@pytest.mark.slow
@pytest.mark.parametrize(("paint", "code", "verdict"), [(False, 0, "the same picture"), (True, 1, "another picture")])
def test_a_frame_that_is_not_exact_is_compared_as_a_picture(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], paint: bool, code: int, verdict: str
) -> None:
    key = inexact(finished, tmp_path / "out", paint)
    assert main(["reproduce", str(tmp_path / "out"), key]) == code
    said = capsys.readouterr().out
    assert "other bits" in said
    assert f"it is {verdict} (20 dB required)" in said


def test_psnr_is_that_of_the_textbook() -> None:
    black, grey = (np.full((4, 4, 3), level, np.uint8) for level in (0, 51))
    assert psnr_db(grey, black) == pytest.approx(20 * np.log10(255 / 51))
    assert psnr_db(grey, grey) == np.inf


@pytest.mark.parametrize(("key", "got"), [("nothing", "none of that key"), ("", "frames that begin so")])
def test_a_key_that_is_not_one_frame_s_is_refused(finished: Finished, key: str, got: str) -> None:
    with pytest.raises(StoreError, match=f"required the key of one stored frame, got '{key}': .*{got}"):
        reproduce_frame(finished.out, key)


def test_another_model_is_refused(finished: Finished, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished.out, tmp_path / "out"))
    plan = json.loads((out / ".run" / "plan.json").read_text())
    plan["targets"]["main"]["fingerprint"] = "another"
    (out / ".run" / "plan.json").write_text(json.dumps(plan))
    key = open_store(out).frame("ball").row["key"]
    with pytest.raises(StoreError, match=r"required the model of fingerprint .*, got none"):
        reproduce_frame(out, key)
