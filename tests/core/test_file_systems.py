"""Which files come over a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.core.file_systems import is_networked, is_on_disk

MOUNTS = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
41 27 0:41 / /share rw,relatime shared:5 - nfs4 filer:/models rw,vers=4.2
42 41 254:1 / /share/fast rw,relatime - xfs /dev/vdb rw
43 27 0:43 / /mnt/two\\040words rw - fuse.gcsfuse bucket rw
44 27 0:44 / /lustre rw - tmpfs tmpfs rw
45 27 0:45 / /lustre rw - lustre mds:/fs rw
46 27 0:46 / /shared-memory rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("place", "networked", "on_disk"),
    [
        ("/home/me/model", False, True),
        ("/share/model", True, False),
        ("/share", True, False),
        ("/shared", False, True),  # no part of /share
        ("/share/fast/model", False, True),
        ("/mnt/two words/model", True, False),
        ("/lustre/model", True, False),  # the later mount hides the earlier one
        ("/shared-memory/model", False, False),
    ],
)
def test_kinds(place: str, networked: bool, on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr("render.core.file_systems.MOUNTS", tmp_path / "mountinfo")
    assert (is_networked(Path(place)), is_on_disk(Path(place))) == (networked, on_disk)


def test_where_linux_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.core.file_systems.MOUNTS", tmp_path / "none")
    assert (is_networked(tmp_path), is_on_disk(tmp_path)) == (False, False)
