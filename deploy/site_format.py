"""Defines the TOML format of site files (areas, sites, devices, networks) and reads one file of it.

The format has the shape of a `Directory`, without the fields that follow from others:

- ``[defaults]`` gives ``area_id``, ``demo``, ``interval_s`` and ``alarms_per_month`` to every entry of the
  file that has none;
- a site that lists ``quantities`` implies a device with the site's id (or names another in ``device``), and
  for each quantity one series and one channel named after it;
- a node with a ``site_id`` takes its id, area, names and position from the site;
- a link takes its network from its first node, its id from both, its course from its ends and the ``bends``
  between them, and its length from its course.
"""

from __future__ import annotations

import os
import pwd
import re
import tomllib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import msgspec

from deploy.errors import DeployError
from ingest_service.storage.contract.models import (  # noqa: TC001 - read by msgspec
    Area,
    Channel,
    Device,
    Direction,
    Network,
    SectionShape,
    Series,
    Structure,
)

if TYPE_CHECKING:
    from pathlib import Path

LonLat = tuple[float, float]
RomanClass = Literal["I", "II", "III", "IV", "V"]
CLASSES: tuple[RomanClass, ...] = get_args(RomanClass)


class SiteFileError(DeployError, ValueError):
    """Site files that can't be used; each line names the file, the entry and the remedy.

    Attributes
    ----------
    problems : one sentence for each
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def unreadable_file(path: Path, error: OSError, what: str) -> SiteFileError:
    """Return the error of a file that can't be read; ``what`` it shall be, such as ``a site file``."""
    advice = f"give the path of {what}"
    if isinstance(error, PermissionError):
        user = pwd.getpwuid(os.geteuid()).pw_name
        advice = f"the user {user} has to be able to read it: put it into /etc/towntwin/sites, with mode 644"
    return SiteFileError([f"{path}: can't be read ({error.strerror}): {advice}"])


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class SiteFileDefaults(_Table, frozen=True, kw_only=True):
    """Default values for the entries of a file."""

    area_id: str | None = None
    demo: bool = False
    interval_s: float = 300.0
    alarms_per_month: float | None = None


class SiteEntry(_Table, frozen=True, kw_only=True):
    """A `Site` with its measured quantities; ``limits`` are check parameters by quantity.

    ``alarms_per_month`` is the alarm budget of each of its series, unless its quantity's limits have another.

    ``target_class`` is written as a number or as GB 3838 does, "I" to "V".
    """

    site_id: str
    kind: str
    en: str
    zh: str
    lon: float
    lat: float
    area_id: str | None = None
    external_id: str | None = None
    grid_cell: str | None = None
    target_class: int | RomanClass | None = None
    demo: bool | None = None
    quantities: list[str] = []
    device: str | None = None
    interval_s: float | None = None
    alarms_per_month: float | None = None
    limits: dict[str, dict[str, float]] = {}


class NodeEntry(_Table, frozen=True, kw_only=True):
    """A `Node` of a network; with a ``site_id``, fields that are None are taken from the site."""

    network: Network
    kind: str
    node_id: str | None = None
    site_id: str | None = None
    area_id: str | None = None
    en: str | None = None
    zh: str | None = None
    lon: float | None = None
    lat: float | None = None
    elevation_m: float | None = None
    external_id: str | None = None


class LinkEntry(_Table, frozen=True, kw_only=True):
    """A `Link` of a network; ``bends`` are the points of its course between its ends."""

    from_node: str
    to_node: str
    en: str
    zh: str
    speed_m_s: float
    link_id: str | None = None
    network: Network | None = None
    length_m: float | None = None
    lanes: int | None = None
    bends: list[LonLat] = []
    coordinates: list[LonLat] = []
    direction: Direction = "forward"
    section_shape: SectionShape | None = None
    width_m: float | None = None
    depth_m: float | None = None
    side_slope: float | None = None
    manning_n: float | None = None
    structure: Structure | None = None
    lane_capacity_veh_h: float | None = None
    external_id: str | None = None


class SiteFile(_Table, frozen=True, kw_only=True):
    """The content of one site file."""

    defaults: SiteFileDefaults = SiteFileDefaults()
    areas: list[Area] = []
    sites: list[SiteEntry] = []
    devices: list[Device] = []
    series: list[Series] = []
    channels: list[Channel] = []
    nodes: list[NodeEntry] = []
    links: list[LinkEntry] = []


ID_FIELDS = ("site_id", "node_id", "link_id", "area_id", "device_id", "from_node")


# A node may also be referred to by its site's id, and a site's implied device has the id of the site.
OWN_ID_FIELDS = {
    "areas": ("area_id",),
    "sites": ("site_id",),
    "devices": ("device_id",),
    "nodes": ("node_id", "site_id"),
    "links": ("link_id",),
}


class ReadFile(NamedTuple):
    """The valid entries of one file, and the problems of the invalid ones.

    Attributes
    ----------
    file : all valid entries
    problems : one sentence for each invalid entry
    unread_ids : ids of the invalid entries, which other entries may refer to

    """

    file: SiteFile
    problems: list[str]
    unread_ids: set[str]


def read_site_file(path: Path) -> ReadFile:
    """Read one file entry by entry, so that all problems are found at once.

    Raises `SiteFileError` where the file is missing, is not TOML, or has invalid defaults.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Notepad writes a byte order mark
    except OSError as error:
        raise unreadable_file(path, error, "a site file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SiteFileError([f"{path}: is no TOML in UTF-8: {error}"]) from error
    problems: list[str] = []
    unread_ids: set[str] = set()
    tables: dict[str, Any] = {}
    for table, value in content.items():
        entries = value if isinstance(value, list) else [value]
        valid_entries = []
        for index, entry in enumerate(entries):
            as_file = {table: [entry] if isinstance(value, list) else entry}
            try:
                valid_entries += _entries(msgspec.convert(as_file, SiteFile), table)
            except msgspec.ValidationError as error:
                sentence = str(error).replace(f"`$.{table}[0]", f"`$.{table}[{index}]")
                problems.append(
                    f"{path}: {_describe_error(sentence, content)}: see docs/demo.md for the format"
                )
                if table == "defaults":  # every entry of the file depends on them
                    raise SiteFileError(problems) from error
                unread_ids |= _own_ids(table, entry)
        if valid_entries:
            tables[table] = valid_entries if isinstance(value, list) else valid_entries[0]
    return ReadFile(SiteFile(**tables), problems, unread_ids)


def _entries(file: SiteFile, table: str) -> list[Any]:
    value = getattr(file, table)
    return value if isinstance(value, list) else [value]


def _own_ids(table: str, entry: object) -> set[str]:
    """Return the ids by which other entries refer to this one.

    >>> sorted(_own_ids("sites", {"site_id": "a", "area_id": "t1"}))
    ['a']
    """
    if not isinstance(entry, dict):
        return set()
    ids = [entry.get(key) for key in OWN_ID_FIELDS.get(table, ())]
    return {one for one in ids if isinstance(one, str)}


def _describe_error(error: str, content: dict[str, Any]) -> str:
    """Return the decoder's error with the entry named by its id where it has one.

    >>> _describe_error("Expected `float`, got `str` - at `$.sites[0].lon`", {"sites": [{"site_id": "a"}]})
    "sites entry 1 ('a'), lon: expected `float`, got `str`"
    """
    error_match = re.fullmatch(r"(.*?) - at `\$\.(\w+)\[(\d+)\](?:\.(.+))?`", error)
    if error_match is None:
        return error
    sentence, table, index, field = error_match.groups()
    entry = content[table][int(index)]
    ids = [entry[key] for key in ID_FIELDS if key in entry]
    name = f" ({ids[0]!r})" if ids else ""
    location = f"{table} entry {int(index) + 1}{name}" + (f", {field}" if field else "")
    return f"{location}: {sentence[0].lower()}{sentence[1:]}"
