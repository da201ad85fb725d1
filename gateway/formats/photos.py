"""Decodes uploaded photos and encodes them anew, bounded in size and without any metadata."""

from __future__ import annotations

import io
import threading
import warnings
from typing import Final, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

from gateway.errors import GatewayError

MAX_DECODED_PIXELS: Final = 50_000_000  # 150 MB while it is decoded; phones take 12 to 50 million
JPEG_QUALITY: Final = 85
_ACCEPTED_FORMATS: Final = ("JPEG", "PNG", "WEBP")
_DECODING = threading.Semaphore(2)  # a decoded photo takes much memory, and requests run in 40 threads


class PhotoError(GatewayError):
    """An upload is no photo that can be stored; the message tells why."""


class StoredPhoto(NamedTuple):
    """A photo as it is stored: always JPEG, for a photo with transparency is put on white."""

    content: bytes
    width: int
    height: int


def reencode(uploaded: bytes, *, max_side_px: int) -> StoredPhoto:
    """Decode a photo, turn it upright, scale it down, and encode it without metadata.

    Only the pixels are taken over: position, time and device in EXIF, comments and trailing data are not.

    Parameters
    ----------
    uploaded : content of a JPEG, PNG or WebP file
    max_side_px : longer side of the result at most [px]

    Raises
    ------
    PhotoError
        If it is no such file, is damaged, or has more than `MAX_DECODED_PIXELS`.

    """
    with _DECODING, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(uploaded), formats=_ACCEPTED_FORMATS) as opened:
                if opened.width * opened.height > MAX_DECODED_PIXELS:
                    raise PhotoError(
                        f"the photo has {opened.width} × {opened.height} pixels: send one of at most "
                        f"{MAX_DECODED_PIXELS:,}"
                    )
                opened.draft("RGB", (max_side_px, max_side_px))  # a JPEG is decoded at a smaller scale
                upright = ImageOps.exif_transpose(opened)
                upright.thumbnail((max_side_px, max_side_px))
                pixels = _on_white(upright)
        except UnidentifiedImageError as error:
            raise PhotoError("the upload is no JPEG, PNG or WebP photo: send one of these") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
            raise PhotoError(f"the photo can't be decoded: {error}") from error
        encoded = io.BytesIO()
        pixels.save(encoded, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return StoredPhoto(encoded.getvalue(), pixels.width, pixels.height)


def _on_white(image: Image.Image) -> Image.Image:
    """Return the pixels alone, in RGB, transparent ones on white."""
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        result = Image.new("RGB", layer.size, "white")
        result.paste(layer, mask=layer.getchannel("A"))
        return result
    result = Image.new("RGB", image.size)
    result.paste(image.convert("RGB"))
    return result
