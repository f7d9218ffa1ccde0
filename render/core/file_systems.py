"""Which files come over a network, by the kind of file system that Linux has mounted there. Standard library only."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["is_networked", "is_on_disk"]

MOUNTS = Path("/proc/self/mountinfo")
NETWORKED = re.compile(
    r"nfs4?|cifs|smb3|smbfs|lustre|gpfs|beegfs(_nodev)?|ceph|glusterfs|9p|afs|wekafs|panfs|orangefs|pvfs2|gfs2|ocfs2|fuse\..*"
)
IN_MEMORY = {"tmpfs", "ramfs"}
ESCAPE = re.compile(r"\\([0-7]{3})")


def is_networked(path: Path) -> bool:
    """Return True if a path lies on a file system that other machines serve; FUSE counts as one."""
    return bool(NETWORKED.fullmatch(_kind(path)))


def is_on_disk(path: Path) -> bool:
    """Return True if a path lies on this machine's own disks."""
    kind = _kind(path)
    return bool(kind) and kind not in IN_MEMORY and not NETWORKED.fullmatch(kind)


def _kind(path: Path) -> str:
    """Return the kind of the file system that a path lies on, or would if it were there; "" where Linux does not say."""
    place = os.path.realpath(path)
    kind, longest = "", -1
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:  # 36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw
        front, _, back = line.partition(" - ")
        point = ESCAPE.sub(lambda match: chr(int(match[1], 8)), front.split(" ")[4])
        is_above = place == point or place.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= longest:  # of two at one place the later one hides the other
            kind, longest = back.split(" ")[0], len(point)
    return kind
