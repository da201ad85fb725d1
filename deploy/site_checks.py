"""Validates the entries of site files together; each problem sentence gives file, entry and remedy."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from analytics.quality import default_limits
from analytics.service.network_checks import distance_m
from deploy import site_file_lines
from deploy.site_kinds import NODE_KINDS, SITE_KINDS
from edge.wire.quantities import QUANTITIES
from edge.wire.topics import LEVEL_ADVICE, LEVEL_PATTERN
from ingest_service.storage.contract import name_rules
from ingest_service.storage.contract.area_tree import circle_problem, parents_of
from ingest_service.storage.contract.bounds import MAX_INTERVAL_S, MAX_NAME_CHARS
from ingest_service.storage.contract.models import Area, Channel, Device, Link, Node, Series, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import msgspec

    from ingest_service.storage.contract.models import Directory

Key = tuple[str, tuple[str, ...]]  # kind of entry, and the values of its key fields

SPEED_MAX_M_S = {"river": 5.0, "road": 40.0}
# Of nodes and links: the Dead Sea to Mount Everest, a pipe to the Yangtze, glass to a wood in flood.
ATTRIBUTE_BOUNDS = {
    "elevation_m": (-450.0, 9000.0),
    "width_m": (0.01, 10_000.0),
    "depth_m": (0.01, 200.0),
    "side_slope": (0.0, 20.0),
    "manning_n": (0.005, 0.5),
    "lane_capacity_veh_h": (1.0, 4000.0),
}
MAX_DETOUR_FACTOR = 5.0  # largest length of a link over the distance of its end nodes
EXTRA_LENGTH_M = 500.0  # allowed in addition, for short links
KEYS: Mapping[type[msgspec.Struct], tuple[str, tuple[str, ...]]] = {
    Area: ("area", ("area_id",)),
    Site: ("site", ("site_id",)),
    Device: ("device", ("device_id",)),
    Series: ("series", ("site_id", "quantity")),
    Channel: ("channel", ("device_id", "name")),
    Node: ("node", ("node_id",)),
    Link: ("link", ("link_id",)),
}
MAX_QUOTED_CHARS = 60  # of an invalid name that are quoted in a problem sentence
MAX_END_DISTANCE_M = 200.0  # between an end of a link's course and its node
MAX_LISTED = 12  # entries that exist, in the sentence on a reference to one that does not
MAX_SUGGESTED = 2


class SiteFileEntry(NamedTuple):
    """One expanded entry and the file that it comes from."""

    file: str
    value: msgspec.Struct

    @property
    def name(self) -> str:
        """Kind and key of the entry, as text."""
        kind, key = key_of(self.value)
        return f"{kind} {name_rules.escape_controls(' / '.join(key))!r}"

    def problem(self, sentence: str) -> str:
        """Return a problem sentence that starts with the file and the entry."""
        return f"{self.file}: {self.name} {sentence}"


def key_of(value: msgspec.Struct) -> Key:
    """Return the kind and the key of an entry, which must be unique."""
    kind, fields = KEYS[type(value)]
    return kind, tuple(getattr(value, field) for field in fields)


def entry_problems(entries: Sequence[SiteFileEntry], enrolled: Directory | None = None) -> list[str]:
    """Return one sentence for each problem of the entries, which may refer to what is enrolled already."""
    entries_by_key: dict[Key, SiteFileEntry] = {}
    found: list[str] = []
    for entry in entries:
        key = key_of(entry.value)
        if key in entries_by_key:
            found.append(entry.problem(f"is already in {entries_by_key[key].file}: each must be there once"))
        entries_by_key.setdefault(key, entry)
    values_by_key = {key_of(value): value for value in _all_entries(enrolled)}
    enrolled_keys = set(values_by_key)
    values_by_key |= {key: entry.value for key, entry in entries_by_key.items()}
    parents = parents_of([one for one in values_by_key.values() if isinstance(one, Area)])
    for entry in entries:
        found += [
            entry.problem(sentence) for sentence in _dangling_references(entry.value, values_by_key, enrolled)
        ]
        found += [entry.problem(sentence) for sentence in _own_problems(entry.value, values_by_key)]
        if key_of(entry.value) not in enrolled_keys:  # what was enrolled before there was this rule stays
            found += [entry.problem(sentence) for sentence in _invalid_id(entry.value)]
        if isinstance(entry.value, Area) and (circle := circle_problem(parents, entry.value.area_id)):
            found.append(entry.problem(circle))
        if isinstance(entry.value, Series):
            found += _interval_problems(entry)
            found += _limit_problems(entry.file, entry.value)
    return found


def _all_entries(directory: Directory | None) -> list[msgspec.Struct]:
    """Return the entries of a directory, of all kinds."""
    if directory is None:
        return []
    series_and_networks = [*directory.series, *directory.channels, *directory.nodes, *directory.links]
    return [*directory.areas, *directory.sites, *directory.devices, *series_and_networks]


def _dangling_references(
    value: msgspec.Struct, values_by_key: Mapping[Key, msgspec.Struct], enrolled: Directory | None
) -> Iterator[str]:
    """Yield a sentence for each reference to an entry that neither the files nor the database have."""
    for kind, key in _references(value):
        if key == ("",):
            yield f"has no {kind}_id: give it, or an {kind}_id for the whole file under [defaults]"
        elif (kind, key) not in values_by_key:
            known = sorted(" / ".join(of) for one, of in values_by_key if one == kind)
            name = " / ".join(key)
            yield f"names {kind} {name!r}, {_reference_advice(kind, name, known, enrolled)}"


def _reference_advice(kind: str, name: str, known: Sequence[str], enrolled: Directory | None) -> str:
    """Return what is wrong with a reference and what to do: the entries of its kind that exist are listed.

    >>> _reference_advice("area", "t2", ["t1"], None)
    'which is not in the files: name one that exists (t1), add [[areas]] with it, or give its file, too'
    """
    if enrolled is None:
        where, other = "not in the files", "give its file, too"
    else:
        where, other = "neither in the files nor enrolled", "enrol its file first"
    table = kind if kind == "series" else f"{kind}s"
    add = f"add [[{table}]] with it, or {other}"
    suggestions = get_close_matches(name, known, MAX_SUGGESTED, cutoff=0.7)
    if suggestions:
        return f"which is {where} (did you mean {' or '.join(map(repr, suggestions))}?): correct it, {add}"
    if not known:
        return f"which is {where}: {add}"
    more = f" and {len(known) - MAX_LISTED:,} more" if len(known) > MAX_LISTED else ""
    return f"which is {where}: name one that exists ({', '.join(known[:MAX_LISTED])}{more}), {add}"


def _references(value: msgspec.Struct) -> Iterator[Key]:
    match value:
        case Area(parent=str() as parent):
            yield "area", (parent,)
        case Site() | Device():
            yield "area", (value.area_id,)
        case Series():
            yield "site", (value.site_id,)
        case Channel():
            yield "device", (value.device_id,)
            yield "series", (value.site_id, value.quantity)
        case Node():
            yield "area", (value.area_id,)
            if value.site_id is not None:
                yield "site", (value.site_id,)
        case Link():
            yield "node", (value.from_node,)
            yield "node", (value.to_node,)


def _own_problems(value: msgspec.Struct, values_by_key: Mapping[Key, msgspec.Struct]) -> Iterator[str]:
    """Yield the problems of an entry's own fields."""
    yield from _invalid_texts(value)
    match value:
        case Site():
            yield from _invalid_position(value.lon, value.lat)
            yield from _unknown_choice("kind", value.kind, SITE_KINDS)
            if value.target_class is not None and not 1 <= value.target_class <= 5:
                yield f"has target_class {value.target_class}: GB 3838 has the classes 1 to 5"
        case Series():
            yield from _unknown_choice("quantity", value.quantity, QUANTITIES)
        case Node():
            yield from _invalid_position(value.lon, value.lat)
            yield from _unknown_choice("kind", value.kind, NODE_KINDS[value.network])
            yield from _out_of_bounds(value)
        case Link():
            yield from _out_of_bounds(value)
            yield from _invalid_link(value, values_by_key)


def _invalid_texts(value: msgspec.Struct) -> Iterator[str]:
    """Yield a sentence for each text field that is too long, or has characters that names may not have."""
    for field in value.__struct_fields__:
        text = getattr(value, field)
        if not isinstance(text, str):
            continue
        quoted = name_rules.escape_controls(text, MAX_QUOTED_CHARS)
        if not name_rules.is_valid_name(text):
            yield f"has {field} {quoted!r}, which {name_rules.FORBIDDEN_NAME_ADVICE}"
        if len(text) > MAX_NAME_CHARS:
            yield f"has {field} {quoted!r}, and a name has {MAX_NAME_CHARS} characters at most: shorten it"


def _interval_problems(entry: SiteFileEntry) -> Iterator[str]:
    """Yield a sentence, with the line, if the interval of a series is out of bounds."""
    series = entry.value
    if isinstance(series, Series) and not 0 < series.interval_s <= MAX_INTERVAL_S:
        line = site_file_lines.interval_reference(entry.file, series)
        yield (
            f"{entry.file}{line}: {entry.name} has interval_s"
            f" {series.interval_s:.10g}: it must be above 0, and at most {MAX_INTERVAL_S:.10g} (31 days)"
        )


def _limit_problems(file: str, series: Series) -> Iterator[str]:
    """Yield a sentence for each check limit of a series that is invalid."""
    if series.quantity not in QUANTITIES or not 0 < series.interval_s <= MAX_INTERVAL_S:
        return
    for sentence in default_limits.limit_problems(series):
        name = next((one for one in series.limits if repr(one) in sentence or one in sentence), "limits")
        location = f"{file}{site_file_lines.field_reference(file, series.site_id, name)}"
        limit = f"site {series.site_id!r}, limits.{series.quantity}"
        yield f"{location}: {limit}: {sentence} (docs/detection.md has all limits)"


def _invalid_id(value: msgspec.Struct) -> Iterator[str]:
    """Yield a sentence if an entry's id can't stand in topics, in addresses or in names of files."""
    match value:
        case Area(area_id=level) | Device(device_id=level) | Channel(name=level):
            if not LEVEL_PATTERN.fullmatch(level):
                yield f"can't stand in a topic: {LEVEL_ADVICE}"
        case Site() | Node() | Link():
            field = KEYS[type(value)][1][0]
            text = getattr(value, field)
            if name_rules.is_valid_name(text) and not name_rules.is_valid_id(text):  # else it was reported
                quoted = name_rules.escape_controls(text, MAX_QUOTED_CHARS)
                yield f"has {field} {quoted!r}, which {name_rules.ID_ADVICE}"


def _unknown_choice(field: str, value: str, choices: Iterable[str]) -> Iterator[str]:
    choices = list(choices)
    if value not in choices:
        suggestions = get_close_matches(value.lower(), choices, 1)
        remedy = (
            f" (did you mean {suggestions[0]!r}?)" if suggestions else f": choose from {', '.join(choices)}"
        )
        yield f"has {field} {value!r}, which is not known{remedy}"


def is_position(lon: float, lat: float) -> bool:
    """Whether a position (longitude, latitude) [deg] is on the globe; NaN is not."""
    return -180 <= lon <= 180 and -90 <= lat <= 90


def _invalid_position(lon: float, lat: float) -> Iterator[str]:
    if not is_position(lon, lat):
        yield f"lies at lon {lon:g}, lat {lat:g}, which is nowhere on WGS 84 (are the two swapped?)"


def _out_of_bounds(value: Node | Link) -> Iterator[str]:
    """Yield a sentence for each attribute that no river or road has."""
    for field, (low, high) in ATTRIBUTE_BOUNDS.items():
        number = getattr(value, field, None)
        if number is not None and not low <= number <= high:
            yield f"has {field} {number:g}: it lies between {low:g} and {high:g}"


def _invalid_link(link: Link, values_by_key: Mapping[Key, msgspec.Struct]) -> Iterator[str]:
    """Yield a sentence for each implausible speed, lane count, direction, course or length of a link."""
    speed_max = SPEED_MAX_M_S[link.network]
    if not 0 < link.speed_m_s <= speed_max:
        yield f"has speed_m_s {link.speed_m_s:g}: on a {link.network} it is above 0, at most {speed_max:g}"
    if link.network == "road" and (link.lanes is None or link.lanes < 1):
        yield "has no lanes: give at least 1"
    if link.direction == "both" and link.network == "road":
        yield "is a road in both directions: give a link for each"
    yield from _invalid_course(link, values_by_key)


def _invalid_course(link: Link, values_by_key: Mapping[Key, msgspec.Struct]) -> Iterator[str]:
    """Yield a sentence for each implausible end, course or length of a link."""
    for lon, lat in link.coordinates:
        if not is_position(lon, lat):
            yield from _invalid_position(lon, lat)
            return
    if not link.length_m > 0:
        yield f"has length_m {link.length_m:g}: give a length above 0, and its ends different positions"
        return
    if link.from_node == link.to_node:
        yield "leads back to its first node: name another to_node"
        return
    ends = [values_by_key.get(("node", (node,))) for node in (link.from_node, link.to_node)]
    nodes = [end for end in ends if isinstance(end, Node)]
    if len(nodes) < len(ends):
        return
    for node, point in zip(nodes, (link.coordinates[0], link.coordinates[-1]), strict=True):
        if node.network != link.network:
            yield f"is a {link.network} link, but {node.node_id!r} is a {node.network} node: join one network"
        if (drawn_apart_m := distance_m((node.lon, node.lat), point)) > MAX_END_DISTANCE_M:
            distance = f"{drawn_apart_m:.0f} m away from its node {node.node_id!r}"
            yield f"is drawn {distance}: mend the coordinates of one"
    apart_m = distance_m((nodes[0].lon, nodes[0].lat), (nodes[1].lon, nodes[1].lat))
    if not 0.9 * apart_m <= link.length_m <= MAX_DETOUR_FACTOR * apart_m + EXTRA_LENGTH_M:
        yield f"has length_m {link.length_m:.0f}, but its nodes are {apart_m:.0f} m apart: mend one of them"
