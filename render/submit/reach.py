"""Which paths of a job a cluster has to reach, and which of them it can't, with what to use instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from render.core import ObjectPath, is_url
from render.job import JobConfig
from render.submit.look import Look

__all__ = ["check_output", "local_models", "unreachable", "why_no_output"]

TEMPORARY_SYSTEMS = (
    "overlay",
    "tmpfs",
    "ramfs",
    "aufs",
)  # these go with their container or machine
NETWORK = re.compile(
    r"nfs4?|cifs|smb\w*|lustre|ceph|beegfs|gpfs|glusterfs|9p|virtiofs|afs|orangefs|fuse\..+|wekafs|efs"
)
INSTEAD = "s3://BUCKET/PREFIX (also gs:// and az://), or a folder that all nodes share"


def why_no_output(given: Path | None, output: Path) -> str:
    """Return why an output can't be that of a submitted job, as the job writes it; "" if it can.

    >>> why_no_output(Path("/shared/night"), Path("/shared/night"))
    ''
    """
    if isinstance(output, ObjectPath) or (given is not None and given.is_absolute()):
        return ""
    got = f"the default {output.parent.name}/{output.name}" if given is None else str(given)
    where = "here, which is not where the job runs, and Ray deletes the folder that it runs in"
    return (
        f"key 'output': required a place that lasts, {INSTEAD}; got {got}, relative to a folder {where}."
        f" If the nodes have this machine's files: output={output}"
    )


def local_models(job: JobConfig) -> list[str]:
    """Return the folders of models that are no hub's and no bucket's."""
    folders = (model.id for model in job.all_models.values() if model.id != "starter" and not is_url(model.id))
    return [folder for folder in dict.fromkeys(folders) if Path(folder).is_absolute()]


def check_output(path: str, look: Look) -> str:
    """Return why the nodes can't write an output together, with what to use instead; "" if they can."""
    required = f"key 'output': required {INSTEAD}; got {path}"
    answers = {node: found for node, found in look.nodes.items() if found is not None}
    reasons = [found["writes"][path] for found in answers.values() if found["writes"].get(path)]
    if reasons:
        return f"{required}, and on {_share(len(reasons), look)} {reasons[0]}"
    kind = look.mounts.get(path, "")
    if len(look.nodes) == 1:
        lasts = look.is_shared.get(path, False) or kind not in TEMPORARY_SYSTEMS
        return "" if lasts else f"{required}, which is on {kind} there: it goes with its container or machine"
    blind = [found for found in answers.values() if not all(found["marks"])]
    if blind:
        return f"{required}, and {_share(len(blind), look)} have another folder of this name than the head"
    if len(answers) < len(look.nodes) and not NETWORK.fullmatch(kind):
        silent = len(look.nodes) - len(answers)
        return f"{required}, which is on {kind or 'an unknown file system'}, and {_share(silent, look)} did not answer"
    return ""


def unreachable(paths: Iterable[str], look: Look) -> Iterator[str]:
    """Yield those paths that some node can't read."""
    for path in paths:
        lacking = [found for found in look.nodes.values() if found is not None and not found["reads"].get(path)]
        if lacking:
            yield f"{path} (not to be read on {_share(len(lacking), look)})"


def _share(count: int, look: Look) -> str:
    whole = len(look.nodes)
    return "the head" if whole == 1 else f"{count} of {whole} nodes"
