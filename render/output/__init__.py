"""Output: committed frames → animations (GIF, MP4, WebP, APNG), subtitles and contact sheets.

Come in by `animation_files` and `write_file`, which list and write the files of walks, and by `write_sheets` and
`write_preview`. Everything here can be deleted and written anew from the store. A new animation format is an encoding in
`animate.py`.

Promises: frames are read one by one, so memory does not grow with the length of a walk. A file appears whole or not at
all; an animation is decoded and its frames and times are checked before it takes its name. What goes wrong with one file
is one of UNWRITABLE, and stops no other file.
"""

from __future__ import annotations

from render.output.animate import UNWRITABLE
from render.output.animations import animation_files, write_file
from render.output.preview import write_preview
from render.output.sheets import write_sheets

__all__ = [
    "UNWRITABLE",
    "animation_files",
    "write_file",
    "write_preview",
    "write_sheets",
]
