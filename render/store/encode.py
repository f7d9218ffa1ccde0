"""Encode pixels as image files, PNG, lossless WebP or JPEG, with what other programs read of how they were made."""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

__all__ = ["ENCODINGS", "Rendered", "encode_image", "read_parameters", "rendered"]

ENCODINGS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 1},
    "webp": {"format": "WEBP", "lossless": True, "method": 0, "quality": 0},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
PARAMETERS, XMP = "parameters", "XML:com.adobe.xmp"  # keywords of PNG's text chunks
COMMENT_MAX = 32_000  # UTF-16 units in JPEG, whose segments end at 65,533 bytes
UNICODE = b"UNICODE\0"  # opens an EXIF UserComment in UTF-16
AI_MADE = (  # XMP of IPTC's digital source type, https://cv.iptc.org/newscodes/digitalsourcetype/
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType='
    '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="r"?>'
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished image, and the values that the store keeps beside its recipe."""

    data: bytes  # encoded
    sha256: str  # of the pixels, uint8 [H, W, 3] in C order
    timestamp_s: float  # seconds since 1970, UTC
    blank: bool  # of a single colour


def encode_image(pixels: NDArray[np.uint8], encoding: str, parameters: str = "") -> bytes:
    """Encode RGB pixels `[H, W, 3]` in one of ENCODINGS; `png` and `webp` keep every bit.

    With the text `parameters` the file says in its XMP that a trained model made it (IPTC's `trainedAlgorithmicMedia`),
    and has the text where A1111's web UI puts it: PNG's text chunk `parameters`, else EXIF's UserComment. JPEG has room
    for 64 kB: of a longer text the end of the prompt is left out there.
    """
    buffer = io.BytesIO()
    metadata = _metadata(parameters, encoding) if parameters else {}
    Image.fromarray(pixels).save(buffer, **ENCODINGS[encoding], **metadata)
    return buffer.getvalue()


def read_parameters(picture: Image.Image) -> str:
    """Return the text `parameters` of an opened picture; "" when it has none that can be read."""
    if picture.format == "PNG":
        return str(picture.info.get(PARAMETERS, ""))
    comment = picture.getexif().get_ifd(IFD.Exif).get(Base.UserComment, b"")
    return comment[len(UNICODE) :].decode("utf-16-be", "replace") if comment[: len(UNICODE)] == UNICODE else ""


def _metadata(parameters: str, encoding: str) -> dict[str, Any]:
    """Return what Pillow's encoder takes to put a text and the mark of a trained model into a file."""
    text = parameters.encode("utf-8", "replace").decode()  # a cell may have half a surrogate pair
    if encoding == "png":
        chunks = PngInfo()
        chunks.add_text(PARAMETERS, text.replace("\0", " "))
        chunks.add_itxt(XMP, AI_MADE)
        return {"pnginfo": chunks}
    exif = Image.Exif()
    exif.endian = ">"  # the order of the comment's own bytes, which no reader can mistake then
    comment = _fitted(text).encode("utf-16-be") if encoding == "jpeg" else text.encode("utf-16-be")
    exif.get_ifd(IFD.Exif)[Base.UserComment] = UNICODE + comment
    return {"exif": exif.tobytes(), "xmp": AI_MADE.encode()}


def _fitted(text: str) -> str:
    """Return a text of at most COMMENT_MAX UTF-16 units: the begin of a longer one, and its last line, the settings."""
    if 2 * len(text) <= COMMENT_MAX or len(text.encode("utf-16-be")) <= 2 * COMMENT_MAX:
        return text
    ending = f"…\n{text.rpartition(chr(10))[2]}"[: COMMENT_MAX // 2]
    room = 2 * COMMENT_MAX - len(ending.encode("utf-16-be"))
    return text.encode("utf-16-be")[:room].decode("utf-16-be", "ignore") + ending


def rendered(pixels: NDArray[np.uint8], encoding: str, parameters: str = "") -> Rendered:
    """Encode an image that was rendered just now, RGB `[H, W, 3]`, with its hash and the current time."""
    return Rendered(
        data=encode_image(pixels, encoding, parameters),
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        timestamp_s=time.time(),
        blank=bool((pixels == pixels[:1, :1]).all()),
    )
