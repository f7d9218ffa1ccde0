"""media."""

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
