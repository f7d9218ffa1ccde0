"""Media: check and read the user's start images and sound files, and write the sound track of an MP4.

Promises: `image_fault` and `sound_fault` find a broken or oversized file before a run starts. `read_image` always returns
upright RGB. A sound's spectra and the sound track of an MP4 are computed piece by piece. librosa is imported in this room
only, and only when beats or onsets are asked for.

May be touched: the files it is given (read only), and the MP4 container that its caller opened. Uses no other room.
Its doors are the names in `__all__`.
"""

from __future__ import annotations

from render.media.images import image_fault, read_image
from render.media.onsets import Track, can_listen
from render.media.sound import Sound, SoundTrack, sound_fault, sound_seconds

__all__ = [
    "Sound",
    "SoundTrack",
    "Track",
    "can_listen",
    "image_fault",
    "read_image",
    "sound_fault",
    "sound_seconds",
]
