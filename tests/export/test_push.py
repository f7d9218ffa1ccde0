"""A push to the Hub, against a stand-in of HfApi: what is asked, and what is refused before."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exports import export

from render import JobError, RunError, StoreError
from render.cli import main
from render.export import Push, check_push, push_export
from render.export import push as push_module

pytest_plugins = ["exports"]


@dataclass
class StandIn:
    """Stands in for HfApi: notes what it is asked."""

    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    error: Exception | None = None

    def whoami(self) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {"name": "ann"}

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> None:
        self.asked.append(("create", {"id": repo_id, "type": repo_type, "private": private, "exist_ok": exist_ok}))

    def upload_folder(
        self, *, repo_id: str, repo_type: str, folder_path: str, commit_message: str, ignore_patterns: list[str]
    ) -> None:
        if self.error:
            raise self.error
        names = [str(path.relative_to(folder_path)) for path in Path(folder_path).rglob("*") if path.is_file()]
        self.files = sorted(name for name in names if not any(fnmatch(name, pattern) for pattern in ignore_patterns))
        self.asked.append(("upload", {"id": repo_id, "type": repo_type}))


@pytest.fixture
def dataset(store: Path, tmp_path: Path) -> Path:
    export(store, tmp_path / "pets", splits="train=0.8,test=0.2", max_shard="500kB")
    return tmp_path / "pets"


def test_all_but_the_notes_is_uploaded(dataset: Path) -> None:
    hub = StandIn()
    done = push_export(dataset, Push("ann/pets"), hub)
    assert hub.asked == [
        ("create", {"id": "ann/pets", "type": "dataset", "private": True, "exist_ok": True}),
        ("upload", {"id": "ann/pets", "type": "dataset"}),
    ]
    data = {f"data/{path.name}" for path in (dataset / "data").iterdir()}
    assert set(hub.files) == {"README.md", "croissant.json", "samples.jpg", *data}
    assert (done.uploaded, done.files, done.url) == (True, len(hub.files), "https://huggingface.co/datasets/ann/pets")
    assert done.size_bytes == sum((dataset / name).stat().st_size for name in hub.files)


def test_a_new_dataset_is_public_when_asked(dataset: Path) -> None:
    hub = StandIn()
    push_export(dataset, Push("ann/pets", public=True), hub)
    assert hub.asked[0][1]["private"] is False


def test_a_dry_run_uploads_nothing(dataset: Path) -> None:
    hub = StandIn()
    done = push_export(dataset, Push("ann/pets", dry_run=True), hub)
    assert (hub.asked, done.uploaded) == ([], False)


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("FOLDER_FILES", 3, r"data: \d+ files; required fewer than 3 \(a larger --max-shard\)"),
        ("ALL_FILES", 5, r"\d+ files; required fewer than 5"),
        ("FILE_BYTES", 1000, r"data/train-00000.parquet: 0 GB; required at most"),
        ("ROW_GROUP_BYTES", 1000, r"data/test-00000.parquet: a row group of \d+ MiB; required at most"),
    ],
)
def test_what_the_hub_does_not_take_is_refused(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, message: str
) -> None:
    monkeypatch.setattr(push_module, limit, value)
    hub = StandIn()
    with pytest.raises(StoreError, match=message):
        push_export(dataset, Push("ann/pets"), hub)
    assert hub.asked == []


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(StoreError, match=r"no README\.md: required a finished export"):
        push_export(tmp_path, Push("ann/pets"), StandIn())


def test_an_error_of_the_hub_is_told(dataset: Path) -> None:
    with pytest.raises(RunError, match=r"--push: required the Hub to take .* files, got the Hub is down"):
        push_export(dataset, Push("ann/pets"), StandIn(error=OSError("the Hub\nis down")))


@pytest.mark.parametrize("name", ["pets", "ann/", "/pets", "a/b/c", "ann/my pets", "https://huggingface.co/ann/pets"])
def test_names_are_checked_first(name: str) -> None:
    with pytest.raises(JobError, match="required OWNER/NAME of a dataset on the Hub"):
        check_push(Push(name), "hf", StandIn())


def test_who_is_asked_for_is_checked_first() -> None:
    check_push(Push("ann/pets"), "hf", StandIn())
    check_push(Push("ann/pets", dry_run=True), "hf", StandIn(error=OSError("no token")))
    with pytest.raises(RunError, match=r"--push: required a Hub that knows you .*, got no token"):
        check_push(Push("ann/pets"), "hf", StandIn(error=OSError("no token")))
    with pytest.raises(JobError, match="--push: required --to hf, got csv"):
        check_push(Push("ann/pets"), "csv", StandIn())


def test_the_command_line(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["export", str(store), "-o", str(tmp_path / "pets")]
    options = ["--splits", "train=0.8,test=0.2", "--balance", "thing", "--push", "ann/pets", "--dry-run"]
    assert main([*own, "--to", "hf", *options]) == 0
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()] == ["train", "test", "left", "export", "pushed"]
    assert "would be https://huggingface.co/datasets/ann/pets" in told.out
    assert "train: " in told.err
    assert main([*own, "--to", "hf", "--dry-run"]) == 2
    assert "--dry-run: required --push OWNER/NAME, got none" in capsys.readouterr().err
    assert main([*own, "--to", "csv", "--push", "ann/pets", "--dry-run"]) == 2
    assert main([*own, "--to", "csv", "--columns", "walk, seed", "--dedupe"]) == 2  # another export is there
    assert "to: 'hf' then, 'csv' now" in capsys.readouterr().err


def test_help_names_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    from render.export.targets import TARGETS

    with pytest.raises(SystemExit):
        main(["export", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in TARGETS)
