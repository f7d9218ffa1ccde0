"""Submit a job to a Ray cluster: check it here, look at the cluster, pack what travels, begin the output, hand it over."""

from __future__ import annotations

import getpass
import os
import platform
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from render.core import JobError, ObjectPath, Receipt, StoreError, is_url, plain_url, without_secrets
from render.job import JobConfig, load_job, output_given, public
from render.prepare import Prepared, prepare, record_or_resume
from render.store import Ledger, check_access
from render.submit.client import Dashboard
from render.submit.jobs import ENTRY, STOP_WAIT_S, running_on
from render.submit.look import Look, Paths, inspect_cluster, site_of
from render.submit.package import Package, media_cells, pack, package_modules, why_too_large, write_package
from render.submit.reach import check_output, local_models, unreachable, why_no_output
from render.submit.versions import differing, is_same_package, missing, requirements

__all__ = ["Submitted", "submit_job"]

NAME_MAX = 40  # characters


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that a cluster has taken."""

    id: str
    prepared: Prepared
    frames_done: int  # in the output already; 0 where it can't be read from here
    why_not_begun: str  # from here; "" if the output was
    travels_bytes: int  # of inputs in its package
    brings_package: bool  # whether the package `render` travels, too


def submit_job(
    dashboard: Dashboard, target: str | Path, overrides: Sequence[str], warn: Callable[[str], object]
) -> Submitted:
    """Submit a job, or what is left of it. Nothing is submitted on bad input, or where the nodes could not run the job.

    Raises InputError, and RunError when the dashboard does not answer any more.
    """
    job = _load(target, overrides)
    _refuse_second(dashboard, job.output)
    nodes = dashboard.nodes()
    weights = all(not is_url(model.id) and _is_here(model.id) for model in job.all_models.values())
    prepared = prepare(job, weights, site=site_of(nodes))
    package, needed = pack(job, prepared.manifest), requirements(job, media_cells(prepared.manifest))
    with tempfile.TemporaryDirectory(prefix="render-submit-") as temporary:
        folder = Path(temporary)
        (folder / "probe").mkdir()
        writes = () if isinstance(job.output, ObjectPath) else (str(job.output),)
        paths = Paths((*local_models(job), *(group.root for group in package.left)), writes)
        look = inspect_cluster(dashboard, nodes, paths, [one.name for one in needed], folder / "probe")
        _check(job, package, look, missing(needed, look))
        for text in (*prepared.warnings, *_left_behind(job), *differing(dashboard.versions(), needed, look)):
            warn(text)
        why_not_begun = _why_not_begun(job, look, weights)
        _refuse_second(dashboard, job.output)  # after seconds; what comes between is refused by the lock of the output
        if not why_not_begun:
            prepared = record_or_resume(prepared)
        command = _command(target, overrides, dashboard.address)
        return _hand_over(dashboard, prepared, package, look, Submission(folder, str(target), command, why_not_begun))


def _command(target: str | Path, overrides: Sequence[str], address: str) -> str:
    """Return the command that goes on with a submitted job, as a shell takes it anywhere on this machine."""
    own = [*public(overrides), "--address", without_secrets(address)]
    if is_url(target):
        shown = _shown(str(target))
        note = "" if shown == str(target) else "  # its address had a query, which is left out here"
        return shlex.join(["render", "submit", shown, *own]) + note
    return f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(['render', 'submit', str(target), *own])}"


def _load(target: str | Path, overrides: Sequence[str]) -> JobConfig:
    """Return the job as it is planned here. Raises JobError for what can't be submitted."""
    job = load_job(target, overrides)
    if job.workers.address not in (None, "auto"):
        required = "required no address (the job runs inside the cluster)"
        raise JobError(f"key 'workers.address': {required}; got {without_secrets(job.workers.address)!r}")
    if reason := why_no_output(output_given(target, overrides), job.output):
        raise JobError(reason)
    if gone := [folder for folder in local_models(job) if not Path(folder).is_dir()]:
        required = "required a folder that this machine sees as the nodes do (the job is planned here), or a hub id"
        raise JobError("\n".join(f"model.id: {required}; got {folder}, which is not here" for folder in gone))
    return replace(job, workers=replace(job.workers, address="auto"))


def _refuse_second(dashboard: Dashboard, output: Path) -> None:
    """Raise StoreError while another job renders into the output, with its name."""
    if other := running_on(dashboard, str(output)):
        since = f"{other.began:%Y-%m-%d %H:%M} UTC" if other.began else "just now"
        required = "required that no other job renders there, got one that does"
        at = f"{shlex.quote(other.id)} --address {shlex.quote(without_secrets(dashboard.address))}"
        hint = f"`render logs {at} --follow` shows it, `render stop {at}` stops it"
        raise StoreError(f"{output}: {required}: {other.id}, since {since}, by {other.submitted_by}; {hint}")


def _left_behind(job: JobConfig) -> Iterator[str]:
    """Yield the warning that URLs of notices, which hold tokens, do not travel."""
    instead = "RENDER_NOTIFY in the environment of the head's `ray start` does the same"
    if job.notify:
        yield f"notify: its URLs do not travel; {instead}"
    if os.environ.get("RENDER_NOTIFY"):
        yield f"RENDER_NOTIFY: the URLs of this machine's environment do not travel; {instead}"


def _is_here(model: str) -> bool:
    return model == "starter" or Path(model).is_absolute()


def _check(job: JobConfig, package: Package, look: Look, lacking: str) -> None:
    """Raise JobError with everything that the nodes lack or can't reach."""
    errors = [lacking] if lacking else []
    if not isinstance(job.output, ObjectPath):
        errors += filter(None, [check_output(str(job.output), look)])
    instead = "a hub id, a folder in a bucket, or one that all nodes share"
    errors += [f"model.id: required {instead}; got {found}" for found in unreachable(local_models(job), look)]
    errors += [why_too_large(group) for group in package.left if [*unreachable([group.root], look)]]
    if errors:
        raise JobError("\n".join(errors))


def _why_not_begun(job: JobConfig, look: Look, weights: bool) -> str:
    """Return why the output is left for the job to begin; "" where it can be begun from here."""
    if not weights:
        return "the weights of its models are not on this machine"
    if not isinstance(job.output, ObjectPath):
        if look.uid not in (0, os.getuid()):
            return f"the cluster's user {look.uid} could not write to a folder that user {os.getuid()} has made"
        return "" if look.is_shared.get(str(job.output)) else "its folder is not on this machine"
    try:
        check_access(job.output, writes=True)
    except StoreError as error:
        return f"it can't be reached from here ({error})"
    return ""


@dataclass(frozen=True, slots=True)
class Submission:
    """The facts of a submission beside its job."""

    folder: Path  # for files that are uploaded
    target: str  # as the user gave it
    command: str  # to go on with the job
    why_not_begun: str


def _hand_over(dashboard: Dashboard, prepared: Prepared, package: Package, look: Look, own: Submission) -> Submitted:
    """Upload the package and submit the command."""
    job, why_not_begun = prepared.job, own.why_not_begun
    archive, brings = own.folder / "job.zip", not is_same_package(look)
    write_package(package, archive)
    runtime_env = {
        "working_dir": str(archive),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), "RENDER_COMMAND": own.command},
        **({"py_modules": package_modules(own.folder), "excludes": ["__pycache__"]} if brings else {}),
    }
    name = f"{re.sub(r'[^A-Za-z0-9]+', '-', job.output.name).strip('-')[:NAME_MAX] or 'night'}-{uuid4().hex[:6]}"
    metadata = {
        ENTRY: version("nightrender"),
        "job_name": job.output.name,
        "output": str(job.output),
        "target": _shown(own.target),
        "manifest": prepared.plan.fingerprint["manifest"],
        "frames": str(prepared.counts.frames),
        "submitted_by": f"{_user()}@{platform.node()}",
    }
    is_here = isinstance(job.output, ObjectPath) or look.is_shared.get(str(job.output), False)
    done = _frames_done(job.output) if is_here else 0
    dashboard.submit(name, f"{shlex.quote(look.python)} -m render run job.yaml", runtime_env, metadata)
    return Submitted(name, prepared, done, why_not_begun, package.size_bytes, brings)


def _frames_done(out: Path) -> int:
    """Return the frames that are committed, 0 where that can't be read; damaged records are the run's business."""
    records: dict[str, Receipt | None] = {}
    with suppress(StoreError, OSError):
        records, _ = Ledger(out).read_records()
    return sum(receipt.frames for receipt in records.values() if receipt is not None)


def _shown(target: str) -> str:
    """Return a target without the query of its address."""
    return str(plain_url(target.partition("?")[0])) if is_url(target) else target


def _user() -> str:
    with suppress(KeyError, OSError):  # of a process without a name or an entry in passwd
        return getpass.getuser()
    return "?"
