"""Jobs whose manifest, media, models and LoRAs lie behind URLs: the same run, no secret kept, no other server asked."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import time
from pathlib import Path

import boto3
import numpy as np
import PIL.Image
import pytest
from buckets import SECRET, Server
from painters import painting
from safetensors.numpy import save_file
from stores import pixels, rendering_here, run_command
from web_server import SIGNATURE, Web

from render import JobError, ManifestError, ModelError, StoreError, animate_store, plan_job, run_job
from render.cli import main
from render.core import ObjectPath, input_path
from render.core.blend import Image
from render.engine.renderer import _read_image
from render.job import load_job
from render.models import Changes, resolve_model
from render.starter import PIPELINE

pytest_plugins = ["stores", "buckets", "web_server"]

TABLE = "walk,prompt,seed,frames,image\nball,3d dog face,7,3,{0}\nball,3d cat face,8,,{0}\n,3d rocket,2,,\n"
SETTINGS = (
    "sampling.width=64",
    "sampling.height=64",
    "sampling.steps=2",
    "workers.count=1",
    "workers.cpus=1",
    "animation.formats=[mp4]",
)


def png(level: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((64, 64, 3), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def job(site: Web) -> str:
    """A signed address of a manifest with a start image."""
    site.files |= {"/night/first.csv": TABLE.format("dog%20face.png").encode(), "/night/dog%20face.png": png(90)}
    return site.url("/night/first.csv", SIGNATURE)


def put(bucket: ObjectPath, files: dict[str, bytes]) -> None:
    client = boto3.client("s3")
    for name, data in files.items():
        client.put_object(Bucket=bucket.parts[1], Key=f"out/{name}", Body=data)


def put_folder(bucket: ObjectPath, folder: Path) -> None:
    put(bucket, {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()})


# Whole runs.


def test_a_run_from_addresses_keeps_no_signature(
    job: str, site: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["run", job, *SETTINGS, f"output={out}"]
    with painting():
        assert main(arguments) == 0
        assert main(arguments) == 0  # resumed: nothing to do
    shown = "".join(capsys.readouterr())
    kept = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"TESTONLY" not in kept
    assert "TESTONLY" not in shown
    assert load_job(out / ".run" / "job.yaml").manifest == input_path(f"{site.url('/night/first.csv')}?…")
    site.fault = lambda *_: "cut"  # what was stored needs no server
    assert [path.name for path in animate_store(out, "animation.formats=[gif]")] == ["ball.gif"]


def test_the_plan_names_the_address(job: str, site: Web, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", job, *SETTINGS]) == 0
    assert f"manifest   {site.url('/night/first.csv')}?…" in capsys.readouterr().out
    assert plan_job(job, *SETTINGS).job.output.name == "first"
    facts = json.loads(json.dumps(str(plan_job(job, *SETTINGS).job)))
    assert "TESTONLY" not in facts


def test_a_file_that_changed_is_noticed(job: str, site: Web, tmp_path: Path) -> None:
    """As a local one is."""
    with painting():
        run_job(job, *SETTINGS, f"output={tmp_path / 'out'}")
        site.files["/night/dog%20face.png"] = png(91)
        with pytest.raises(StoreError, match="column 'image_sha256'"):
            run_job(job, *SETTINGS, f"output={tmp_path / 'out'}")
        site.files["/night/dog%20face.png"] = png(90)
        site.files["/night/first.csv"] = site.files["/night/first.csv"].replace(b"cat", b"bat")
        with pytest.raises(StoreError, match="3d bat face"):
            run_job(job, *SETTINGS, f"output={tmp_path / 'out'}")


@pytest.mark.parametrize("place", ["web", "bucket"])
def test_an_extension_is_found_at_its_address(place: str, site: Web, bucket: ObjectPath, tmp_path: Path) -> None:
    def publish(text: str) -> str:
        site.files["/first.csv"] = text.encode()
        put(bucket, {"first.csv": text.encode()})
        return site.url("/first.csv") if place == "web" else f"{bucket}/first.csv"

    with painting():
        run_job(publish("prompt\na cat\n"), *SETTINGS, f"output={tmp_path / 'out'}")
        more = publish("prompt\na cat\na dog\n")
        with pytest.raises(StoreError, match=r"This adds them: render run .*first\.csv"):
            run_job(more, *SETTINGS, f"output={tmp_path / 'out'}")
        assert run_job(more, *SETTINGS, f"output={tmp_path / 'out'}", extend=True).frames == 2


@pytest.mark.slow
def test_pictures_are_those_of_local_files(job: str, site: Web, tmp_path: Path) -> None:
    table = "prompt,image,strength\n3d dog face,dog%20face.png,0.5\n"
    site.files["/night/first.csv"] = table.encode()
    (tmp_path / "first.csv").write_text(table)
    (tmp_path / "dog%20face.png").write_bytes(png(90))
    with rendering_here():
        run_job(tmp_path / "first.csv", *SETTINGS, f"output={tmp_path / 'local'}")
        run_job(job, *SETTINGS, f"output={tmp_path / 'remote'}")
    assert pixels(tmp_path / "remote") == pixels(tmp_path / "local")


@pytest.mark.long
@pytest.mark.slow
def test_a_run_on_ray(job: str, site: Web, bucket: ObjectPath, tmp_path: Path, short_tmp: Path) -> None:
    put_folder(bucket, PIPELINE)
    done: subprocess.CompletedProcess[str] = run_command(
        short_tmp, "run", job, *SETTINGS, f"model.id={bucket}", f"output={tmp_path / 'out'}"
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "TESTONLY" not in done.stdout + done.stderr
    assert len(pixels(tmp_path / "out")) == 5


def test_a_table_in_a_bucket_with_its_media(bucket: ObjectPath, site: Web, tmp_path: Path) -> None:
    put(bucket, {"first.csv": TABLE.format("a.png").encode(), "a.png": png(90), "sub/second.csv": b"prompt\na dog\n"})
    assert plan_job(f"{bucket}/first.csv", *SETTINGS).counts.frames == 5
    assert plan_job(f"{bucket}/sub", *SETTINGS).counts.frames == 1  # a folder of tables
    (tmp_path / "job.yaml").write_text(f"manifest: {bucket}/first.csv\nmedia: {bucket}\n")
    assert plan_job(tmp_path / "job.yaml", *SETTINGS).counts.frames == 5


# What a worker on another machine does.


def test_a_worker_fetches_what_its_machine_does_not_have(
    job: str, site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = plan_job(job, *SETTINGS).manifest
    sha256 = manifest.select("image_sha256")["image_sha256"][0].as_py()
    root, leaf = pickle.loads(pickle.dumps(input_path(job).parent)), Image("dog%20face.png", sha256)
    site.asked.clear()
    assert _read_image(root, leaf, (64, 64))[0, 0, 0] == 90
    assert site.paths() == []  # the cache has it
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert _read_image(root, leaf, (64, 64))[0, 0, 0] == 90
    assert site.paths() == ["/night/dog%20face.png"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "third"))
    site.files["/night/dog%20face.png"] = png(91)
    with pytest.raises(ValueError, match="required a file of SHA-256"):
        _read_image(root, leaf, (64, 64))


def test_a_model_in_a_bucket(bucket: ObjectPath, server: Server, site: Web) -> None:
    put_folder(bucket, PIPELINE)
    server.begin()
    known = resolve_model(str(bucket), None, Path.cwd(), weights=False)
    assert not [request for request in server.requests if "safetensors" in request.path]  # a plan needs none
    assert known.sampling == resolve_model("starter", None, Path.cwd()).sampling
    found = resolve_model(str(bucket), None, Path.cwd())
    assert found.fingerprint == resolve_model("starter", None, Path.cwd()).fingerprint
    found.check_files()
    assert pickle.loads(pickle.dumps(found)).resolve_here() == found
    put(bucket, {"sampling.json": b"{}", "unet/config.json": (PIPELINE / "unet/config.json").read_bytes() + b" "})
    with pytest.raises(ModelError, match="required fingerprint"):
        found.resolve_here()


def test_a_lora_at_an_address(site: Web, tmp_path: Path) -> None:
    save_file({"unet.x.lora_A.weight": np.zeros((4, 4), np.float32)}, tmp_path / "style.safetensors")
    site.files["/style.safetensors"] = (tmp_path / "style.safetensors").read_bytes()
    url = site.url("/style.safetensors", SIGNATURE)
    (tmp_path / "job.yaml").write_text(f"manifest: a.csv\nmodel: {{loras: [{{path: '{url}', weight: 0.5}}]}}\n")
    (lora,) = load_job(tmp_path / "job.yaml").model.loras
    found = resolve_model("starter", None, Path.cwd(), changes=Changes(loras=((lora.path, 0.5),)))
    local = resolve_model("starter", None, Path.cwd(), changes=Changes(loras=((tmp_path / "style.safetensors", 0.5),)))
    assert (found.fingerprint, found.loras[0][0].name) == (local.fingerprint, "style.safetensors")
    assert "TESTONLY" not in repr(found)
    site.files["/style.safetensors"] = b"half"
    with pytest.raises(ModelError, match="required a safetensors file"):
        pickle.loads(pickle.dumps(found)).resolve_here()
    site.fault = lambda *_: "404"
    with pytest.raises(ModelError, match=r"model\.loras: .*/style\.safetensors\?…: required a file, got 404") as error:
        found.resolve_here()
    assert "TESTONLY" not in str(error.value)


# Errors, within seconds.


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("{site}/none.csv", "/none.csv: required a file, got 404 Not Found"),
        ("{site}/page.csv", "required a file, got an HTML page"),
        ("{site}/page", "required a job (.yaml) or a manifest"),
        ("http://nowhere.invalid/a.csv", "required a host that is known, got nowhere.invalid"),
        ("http://127.0.0.1:1/a.csv", "required a server that answers"),
        ("http://169.254.169.254/a.csv", "where clouds keep the credentials"),
        ("{bucket}/none.csv", "required an object, got none of this name"),
        ("s3://no-such-bucket/a.csv", "/a.csv: required"),
    ],
)
def test_a_table_that_cannot_be_had(
    target: str, words: str, site: Web, bucket: ObjectPath, capsys: pytest.CaptureFixture[str]
) -> None:
    site.files["/page.csv"] = b"<html>"
    began = time.monotonic()
    assert main(["plan", target.format(site=site.url(""), bucket=bucket)]) == 2
    assert words in capsys.readouterr().err
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd.csv", "ftp://host/a.csv", "https://me:hunter2@host/a.csv", "https://host/job.yaml"]
)
def test_targets_that_are_refused(target: str) -> None:
    with pytest.raises(JobError, match="target: required") as error:
        plan_job(target)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("media=https://host/a?sig=hunter2", "key 'media': required a URL without a query"),
        ("media_urls=[/local]", "key 'media_urls': required a URL without a query"),
        ("media_urls=https://host/a", "required a list such as"),
        ("model.id=https://host/model", "key 'model.id': required a folder"),
        ("model.id=https://me:hunter2@host/model", "key 'model.id': required https://HOST/PATH"),
        ("manifest=ftp://me:hunter2@host/a.csv", "key 'manifest': required https://HOST/PATH"),
        ("model.loras=[{path: 'file:///etc/a.safetensors'}]", "key 'model.loras': required https://HOST/PATH"),
    ],
)
def test_keys_that_are_refused(key: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("manifest: a.csv\n")
    with pytest.raises(JobError) as error:
        load_job(tmp_path / "job.yaml", [key])
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_model_that_cannot_be_had(bucket: ObjectPath, server: Server, site: Web) -> None:
    for id, words in ((str(bucket), "got none that fits"), (f"{bucket}/a.safetensors", "required 'starter', a diff")):
        with pytest.raises(ModelError, match=words):
            resolve_model(id, None, Path.cwd())
    server.begin(lambda _: "deny")
    with pytest.raises(ModelError, match="AccessDenied") as error:
        resolve_model(str(bucket), None, Path.cwd())
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("data", [b"<!DOCTYPE html><html>Sign in</html>", b""])
def test_a_model_with_a_page_or_nothing_in_it(name: str, data: bytes, bucket: ObjectPath, site: Web) -> None:
    put_folder(bucket, PIPELINE)
    put(bucket, {name: data})
    with pytest.raises(ModelError, match=name):
        resolve_model(str(bucket), None, Path.cwd())


# A table is not to be trusted.


@pytest.mark.parametrize(
    "cell",
    [
        "{site}/other/a.png",
        "{site}/nightly/a.png",
        "{site}/night/../other/a.png",
        "{site}/night/%2e%2e/other/a.png",
        "../other/a.png",
        "/other/a.png",
        "http://169.254.169.254/latest/meta-data",
        "s3://bucket/a.png",
        "file:///etc/passwd",
        "{site}/night/a.png?sig=hunter2",
    ],
)
def test_no_cell_reaches_another_place(cell: str, job: str, site: Web) -> None:
    site.files |= dict.fromkeys(("/other/a.png", "/nightly/a.png", "/night/a.png"), png(1))
    site.files["/night/first.csv"] = TABLE.format(cell.format(site=site.url(""))).encode()
    with pytest.raises(ManifestError, match=r"row 1, column 'image': required") as error:
        plan_job(job, *SETTINGS)
    assert set(site.paths()) == {"/night/first.csv"}
    assert "hunter2" not in str(error.value)


def test_cells_may_name_what_the_job_allows(site: Web, tmp_path: Path) -> None:
    site.files["/pictures/a.png"] = png(90)
    manifest = tmp_path / "first.csv"
    manifest.write_text(TABLE.format(site.url("/pictures/a.png")))
    with pytest.raises(ManifestError, match=r"required a path in the folder of media \(job key media_urls"):
        plan_job(manifest, *SETTINGS)
    assert site.asked == []
    assert plan_job(manifest, *SETTINGS, f"media_urls=[{site.url('/pictures')}]").counts.frames == 5
    assert plan_job(manifest, *SETTINGS, f"media={site.url('/pictures')}").counts.frames == 5


def test_every_file_that_cannot_be_had_is_named(job: str, site: Web) -> None:
    rows = "".join(f",a,{number}.png\n" for number in range(3))
    site.files["/night/first.csv"] = f"walk,prompt,image\n{rows}".encode()
    site.files["/night/1.png"] = b"no picture"
    with pytest.raises(ManifestError) as error:
        plan_job(job, *SETTINGS)
    lines = str(error.value).splitlines()[1:]
    assert lines[0].endswith("can be fetched; got '0.png' (required a file, got 404 Not Found (no such file))")
    assert "row 2, column 'image': required an image file; got '1.png' (UnidentifiedImageError" in lines[1]
    assert "got '2.png'" in lines[2]
