"""Serves the console's scripts and styles from memory, compressed once, by addresses with their version."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.api.problems import not_found
from gateway.auth.authorization import PUBLIC, requires
from gateway.transport.compression import accepts_gzip
from gateway.transport.security_headers import STATIC_PREFIX

router = APIRouter(include_in_schema=False)

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
CACHE_FOR_GOOD = "public, max-age=31536000, immutable"  # another version has another address
VERSION_CHARS = 12
GZIP_LEVEL = 6


class StaticFile(NamedTuple):
    """A file of the console."""

    content: bytes
    media_type: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Return the console's files by their path below ``static``."""
    found: dict[str, StaticFile] = {}
    root = files("gateway.console") / "static"
    for folder, prefix in ((root, ""), (root / "vendor", "vendor/")):
        for one in folder.iterdir():
            media_type = MEDIA_TYPES.get("." + one.name.rpartition(".")[2])
            if one.is_file() and media_type is not None:
                found[prefix + one.name] = StaticFile(one.read_bytes(), media_type)
    return found


@cache
def compressed(name: str) -> bytes:
    """Return a file compressed; the first request for it waits some 40 ms."""
    return gzip.compress(static_files()[name].content, GZIP_LEVEL)


@cache
def version() -> str:
    """Return the version of all files together, a part of their addresses."""
    digest = hashlib.sha256()
    for name, one in sorted(static_files().items()):
        digest.update(name.encode() + b"\0" + one.content)
    return digest.hexdigest()[:VERSION_CHARS]


def static_address(name: str) -> str:
    """Return the address of a file. Raises KeyError where there is none of that name."""
    if name not in static_files():
        raise KeyError(name)
    return f"{STATIC_PREFIX}{version()}/{name}"


@router.get("/console/static/{file_version}/{name:path}")
@requires(PUBLIC)
async def static_file(request: Request, file_version: str, name: str) -> Response:
    """Serve a script or style; browsers keep it as long as its address is used."""
    one = static_files().get(name)
    if one is None or file_version != version():
        raise not_found("file", name)
    headers = {"Cache-Control": CACHE_FOR_GOOD, "Vary": "Accept-Encoding"}
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        return Response(
            compressed(name), media_type=one.media_type, headers={**headers, "Content-Encoding": "gzip"}
        )
    return Response(one.content, media_type=one.media_type, headers=headers)
