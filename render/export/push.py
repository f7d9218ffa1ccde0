"""Push an exported dataset to the Hugging Face Hub, after a look at what the Hub takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from render.core import JobError, RunError, StoreError, counted, one_line, without_secrets

__all__ = ["Hub", "Push", "Pushed", "check_push", "hub_problems", "push_export"]

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]{0,95}")
# https://huggingface.co/docs/hub/storage-limits, and what the viewer reads of a row group
FOLDER_FILES, ALL_FILES, FILE_BYTES, ROW_GROUP_BYTES = 10_000, 100_000, 50 * 10**9, 286 * 2**20
PRIVATE = (".export", ".run")  # folders that stay here


class Hub(Protocol):
    """The part of huggingface_hub's HfApi that a push needs."""

    def whoami(self) -> dict[str, Any]: ...
    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> object: ...
    def upload_folder(
        self, *, repo_id: str, repo_type: str, folder_path: str, commit_message: str, ignore_patterns: list[str]
    ) -> object: ...


@dataclass(frozen=True, slots=True)
class Push:
    """Where an export is pushed to."""

    name: str  # OWNER/NAME of a dataset on the Hub
    public: bool = False  # a new dataset is private otherwise; one that is there stays as it is
    dry_run: bool = False  # check all, upload nothing


@dataclass(frozen=True, slots=True)
class Pushed:
    """The outcome of a push."""

    url: str
    files: int
    size_bytes: int
    uploaded: bool


def check_push(push: Push, to: str, hub: Hub | None = None) -> None:
    """Check name, target and, but for a dry run, that the Hub knows the user. Raises JobError."""
    if to != "hf":
        raise JobError(f"--push: required --to hf, got {to}")
    if not NAME.fullmatch(push.name):
        raise JobError(f"--push: required OWNER/NAME of a dataset on the Hub, got {push.name!r}")
    if not push.dry_run:
        _ask((hub or _hub()).whoami, "a Hub that knows you (`hf auth login`, or HF_TOKEN)")


def push_export(folder: Path, push: Push, hub: Hub | None = None) -> Pushed:
    """Upload the folder of an export as a dataset. Raises StoreError for what the Hub does not take, and RunError.

    What is there already is not uploaded again, so that the same call goes on after an error.
    """
    files = list(_files(folder))
    if problems := list(hub_problems(folder)):
        raise StoreError("\n  ".join([f"{folder}: required what the Hub takes, got", *problems]))
    url, size = f"https://huggingface.co/datasets/{push.name}", sum(path.stat().st_size for path in files)
    if push.dry_run:
        return Pushed(url, len(files), size, uploaded=False)
    hub = hub or _hub()

    def upload() -> None:
        hub.create_repo(push.name, repo_type="dataset", private=not push.public, exist_ok=True)
        hub.upload_folder(
            repo_id=push.name,
            repo_type="dataset",
            folder_path=str(folder),
            commit_message="Add images rendered by nightrender",
            ignore_patterns=[f"{name}/**" for name in PRIVATE] + ["**/.partial-*"],
        )

    _ask(upload, f"the Hub to take {counted(len(files), 'file')}")
    return Pushed(url, len(files), size, uploaded=True)


def hub_problems(folder: Path) -> Iterator[str]:
    """Yield what the Hub would not take, or its viewer not show: files a folder, sizes of files and row groups."""
    files = list(_files(folder))
    if not any(path.name == "README.md" for path in files):
        yield "no README.md: required a finished export"
    if len(files) >= ALL_FILES:
        yield f"{counted(len(files), 'file')}; required fewer than {ALL_FILES:,} (a larger --max-shard)"
    for parent, count in Counter(path.parent for path in files).items():
        if count >= FOLDER_FILES:
            where = parent.relative_to(folder).as_posix()
            yield f"{where}: {counted(count, 'file')}; required fewer than {FOLDER_FILES:,} (a larger --max-shard)"
    for path in files:
        name, size = path.relative_to(folder).as_posix(), path.stat().st_size
        if size > FILE_BYTES:
            yield f"{name}: {size / 1e9:,.0f} GB; required at most {FILE_BYTES / 1e9:.0f} GB (a smaller --max-shard)"
        if path.suffix == ".parquet":
            metadata = pq.read_metadata(path)
            largest = max((metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)), default=0)
            if largest > ROW_GROUP_BYTES:
                yield f"{name}: a row group of {largest / 2**20:,.0f} MiB; required at most {ROW_GROUP_BYTES >> 20} MiB"


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not set(path.relative_to(folder).parts) & set(PRIVATE):
            yield path


def _hub() -> Hub:
    from huggingface_hub import HfApi

    api: Any = HfApi(library_name="nightrender")
    hub: Hub = api
    return hub


def _ask(ask: Callable[[], object], required: str) -> None:
    """Ask the Hub something. Raises RunError with what was required, and the Hub's word on one line."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        ask()
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError, ValueError) as error:
        raise RunError(f"--push: required {required}, got {without_secrets(one_line(error))}") from error
