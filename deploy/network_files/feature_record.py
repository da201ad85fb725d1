"""Defines what readers of files return: the given fields of each area, site, node and link."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from deploy.site_format import SiteFileError, unreadable_file
from ingest_service.storage.contract.models import Area, Link, Node, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FeatureKind = Literal["area", "site", "node", "link"]
STRUCTS: Mapping[FeatureKind, type[Area | Site | Node | Link]] = {
    "area": Area,
    "site": Site,
    "node": Node,
    "link": Link,
}
GIVEN_BY_STORE = {"valid_from_s"}
MAX_FILE_BYTES = 256 << 20


class FeatureRecord(NamedTuple):
    """One feature of a file.

    Attributes
    ----------
    kind : area, site, node or link
    where : file and line, for problem sentences
    fields : what the file gives; a None empties a field, and a missing field stays as it is enrolled
    field_where : file and line of a field, where they are not those of the feature
    defaults : values of fields that neither the file gives nor the enrolled feature has

    """

    kind: FeatureKind
    where: str
    fields: dict[str, Any]
    field_where: dict[str, str]
    defaults: dict[str, Any]


class ReadFeatures(NamedTuple):
    """The features of files, and one sentence for each thing in the files that is not imported."""

    records: list[FeatureRecord]
    notes: list[str]


def known_fields(kind: FeatureKind) -> tuple[str, ...]:
    """Return the fields of a kind of feature that files may give."""
    return tuple(name for name in STRUCTS[kind].__struct_fields__ if name not in GIVEN_BY_STORE)


def misspelt(name: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant; None if there is none.

    >>> misspelt("maning_n", ["manning_n", "lanes"]), misspelt("fid", ["manning_n"])
    ('manning_n', None)
    """
    return next(iter(get_close_matches(name.lower(), list(names), 1, cutoff=0.8)), None)


def read_text(path: Path, what: str) -> str:
    """Return the text of a file, UTF-8 or GB 18030 as spreadsheets in Chinese write it.

    Raises `SiteFileError` if it can't be read, is too large, or is in another encoding.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SiteFileError([f"{path}: is larger than {MAX_FILE_BYTES >> 20} MB: divide it"])
        content = path.read_bytes()
    except OSError as error:
        raise unreadable_file(path, error, what) from error
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise SiteFileError([f"{path}: is a text in neither UTF-8 nor GB 18030: save it as UTF-8"])
