"""Turns the features of files into one validated change of the enrolled networks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from deploy import site_checks, site_files
from deploy.network_files.feature_record import STRUCTS, FeatureRecord, known_fields
from deploy.site_checks import SiteFileEntry
from deploy.site_format import LinkEntry, NodeEntry, SiteFileError
from ingest_service.storage.contract.models import Area, Directory, Link, Node, Site
from ingest_service.storage.contract.network_changes import NetworkChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_PROBLEMS = 50
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
BACK = ":back"  # appended to the id of a road's link for its other direction


class ImportDefaults(NamedTuple):
    """Values for new features that a file doesn't give.

    Attributes
    ----------
    area_id : of sites and nodes
    network : river or road
    speed_m_s : of links [m/s]

    """

    area_id: str | None = None
    network: str | None = None
    speed_m_s: float | None = None


def build_change(
    records: Sequence[FeatureRecord],
    enrolled: Directory,
    defaults: ImportDefaults,
    *,
    valid_from_s: float | None = None,
    replaces: bool = False,
) -> NetworkChange:
    """Return the change that the features of files make.

    Parameters
    ----------
    records : of all files
    enrolled : directory of the database; a feature keeps the enrolled fields that its file doesn't give
    defaults : for new features
    valid_from_s : time of the change [Unix s]; None corrects what is enrolled
    replaces : nodes and links of the same areas and networks that are not in the files end

    Raises
    ------
    SiteFileError
        With one sentence for each problem, with file and line.

    """
    builder = _ChangeBuilder(enrolled, defaults)
    for kind in ("area", "site", "node", "link"):
        for record in records:
            if record.kind == kind:
                builder.add(record)
    problems = [
        *builder.problems,
        *map(builder.located, site_checks.entry_problems(builder.entries, enrolled)),
    ]
    if problems:
        more = len(problems) - MAX_PROBLEMS
        raise SiteFileError(problems[:MAX_PROBLEMS] + ([f"{more} more problems"] if more > 0 else []))
    values = [entry.value for entry in builder.entries]
    nodes = [one for one in values if isinstance(one, Node)]
    links = [one for one in values if isinstance(one, Link)]
    ended_nodes, ended_links = _ended(enrolled, nodes, links) if replaces else ([], [])
    return NetworkChange(
        areas=[one for one in values if isinstance(one, Area)],
        sites=[one for one in values if isinstance(one, Site)],
        nodes=nodes,
        links=links,
        ended_nodes=ended_nodes,
        ended_links=ended_links,
        valid_from_s=valid_from_s,
    )


def _ended(enrolled: Directory, nodes: Iterable[Node], links: Iterable[Link]) -> tuple[list[str], list[str]]:
    """Return the ids of enrolled nodes and links of the same areas and networks that are in no file.

    A node stays while a link of another area leads to it.
    """
    kept_nodes, kept_links = {one.node_id for one in nodes}, {one.link_id for one in links}
    covered = {(one.area_id, one.network) for one in nodes}
    in_covered = {one.node_id for one in enrolled.nodes if (one.area_id, one.network) in covered}
    ended_links = [
        one.link_id
        for one in enrolled.links
        if {one.from_node, one.to_node} <= in_covered and one.link_id not in kept_links
    ]
    gone = set(ended_links)
    ends = {
        name for one in enrolled.links if one.link_id not in gone for name in (one.from_node, one.to_node)
    }
    return sorted(in_covered - kept_nodes - ends), ended_links


class _ChangeBuilder:
    """Collects the entries of features, and a sentence for each problem with its line."""

    def __init__(self, enrolled: Directory, defaults: ImportDefaults) -> None:
        self.entries: list[SiteFileEntry] = []
        self.problems: list[str] = []
        self._defaults = defaults
        self._known: Mapping[tuple[str, str], msgspec.Struct] = {
            (kind, getattr(one, f"{kind}_id")): one
            for kind, features in (
                ("area", enrolled.areas),
                ("site", enrolled.sites),
                ("node", enrolled.nodes),
                ("link", enrolled.links),
            )
            for one in features
        }
        self._sites = {one.site_id: one for one in enrolled.sites}
        self._nodes = {one.node_id: one for one in enrolled.nodes}
        self._unread: set[str] = set()
        self._field_where: dict[tuple[str, str], str] = {}  # by the feature's own line and the field

    def add(self, record: FeatureRecord) -> None:
        """Add a feature; areas and sites have to come before nodes, and nodes before links."""
        merged = self._merged(record)
        if merged is None:
            return
        self._field_where |= {(record.where, name): where for name, where in record.field_where.items()}
        for field, value in merged.items():
            if isinstance(value, str) and HALF_CHARACTER.search(
                value
            ):  # escaped in JSON; no database takes it
                where = record.field_where.get(field, record.where)
                self.problems.append(f"{where}: {field} holds half of a character: leave it out")
                return
        try:
            value = self._value(record, merged)
        except msgspec.ValidationError as error:
            self.problems.append(_sentence(record, merged, str(error)))
            self._unread.add(merged[f"{record.kind}_id"])
        except SiteFileError as error:
            # A link to a node that could not be read is only a consequence: it is not reported.
            if not {merged.get("from_node"), merged.get("to_node")} & self._unread:
                self.problems += [f"{record.where}: {one}" for one in error.problems]
        else:
            self._append(record, value)

    def located(self, problem: str) -> str:
        """Return a problem of a feature with the line of the field that it names, where that is known."""
        matched = re.match(r"(.*?): (?:area|site|node|link) '.*?' has (\w+) ", problem)
        if matched is None:
            return problem
        where = self._field_where.get((matched[1], matched[2]))
        return problem if where is None else f"{where}{problem.removeprefix(matched[1])}"

    def _merged(self, record: FeatureRecord) -> dict[str, Any] | None:
        """Return the fields of a feature, of the file, as enrolled, or by default; None without an id."""
        kind, fields = record.kind, record.fields
        name = fields.get(f"{kind}_id") or (fields.get("site_id") if kind == "node" else None)
        if not isinstance(name, str):
            self.problems.append(f"{record.where}: has no {kind}_id: give each {kind} one of its own, a text")
            return None
        known = self._known.get((kind, name))
        merged = dict(record.defaults)
        if known is not None:
            merged = {field: getattr(known, field) for field in known_fields(kind)}
            if kind == "link" and "coordinates" in fields and "length_m" not in fields:
                del merged["length_m"]  # it follows from the new course
        merged |= {field: value for field, value in fields.items() if value is not None}
        for field, value in fields.items():
            if value is None and known is not None and not _is_required(kind, field):
                merged.pop(field, None)
        merged[f"{kind}_id"] = name
        self._fill_in(kind, name, merged)
        return merged

    def _fill_in(self, kind: str, name: str, merged: dict[str, Any]) -> None:
        """Add what the command line gives for all features, and a missing name."""
        site = self._sites.get(merged.get("site_id", "")) if kind == "node" else None
        if self._defaults.area_id is not None and kind in {"site", "node"} and site is None:
            merged.setdefault("area_id", self._defaults.area_id)
        if self._defaults.network is not None and kind == "node":
            merged.setdefault("network", self._defaults.network)
        if self._defaults.speed_m_s is not None and kind == "link":
            merged.setdefault("speed_m_s", self._defaults.speed_m_s)
        if site is None:
            given = merged.get("zh") or merged.get("en") or name
            merged["en"], merged["zh"] = merged.get("en") or given, merged.get("zh") or given

    def _value(self, record: FeatureRecord, merged: dict[str, Any]) -> msgspec.Struct:
        if record.kind == "node":
            node = msgspec.convert(merged, NodeEntry, strict=False)
            return site_files.expand_node(node, self._sites, self._defaults.area_id)[0]
        if record.kind == "link":
            link = msgspec.convert(merged, LinkEntry, strict=False)
            return site_files.expand_link(link, self._nodes)[0]
        return msgspec.convert(merged, STRUCTS[record.kind], strict=False)

    def _append(self, record: FeatureRecord, value: msgspec.Struct) -> None:
        if isinstance(value, Site):
            self._sites[value.site_id] = value
        elif isinstance(value, Node):
            self._nodes[value.node_id] = value
        elif isinstance(value, Link) and value.network == "road" and value.direction == "both":
            value = msgspec.structs.replace(value, direction="forward")
            self.entries.append(SiteFileEntry(record.where, _other_direction(value)))
        self.entries.append(SiteFileEntry(record.where, value))


def _other_direction(link: Link) -> Link:
    return msgspec.structs.replace(
        link,
        link_id=f"{link.link_id}{BACK}",
        from_node=link.to_node,
        to_node=link.from_node,
        coordinates=link.coordinates[::-1],
    )


def _is_required(kind: str, field: str) -> bool:
    struct = STRUCTS[kind]  # type: ignore[index]
    found = next(one for one in msgspec.structs.fields(struct) if one.name == field)
    return found.required


def _sentence(record: FeatureRecord, merged: Mapping[str, Any], error: str) -> str:
    """Return msgspec's error as a sentence with the line of the field."""
    matched = re.fullmatch(r"(.*?) - at `\$\.(\w+)(\[.*)?`", error)
    if matched is None:
        missing = re.fullmatch(r"Object missing required field `(\w+)`", error)
        if missing is None:
            return f"{record.where}: {error[0].lower()}{error[1:]}"
        name = merged.get(f"{record.kind}_id")
        option = " or --speed-m-s" if missing[1] == "speed_m_s" else ""
        option = " or --network" if missing[1] == "network" else option
        return f"{record.where}: {record.kind} {name!r} has no {missing[1]}: give it{option}"
    sentence, field, within = matched.groups()
    where = record.field_where.get(field, record.where)
    expected = re.fullmatch(r"Expected `(float|int)( \| null)?`, got .*", sentence)
    advice = "give a number" if expected else f"{sentence[0].lower()}{sentence[1:]}"
    return f"{where}: {field}{within or ''} is {repr(merged.get(field))[:60]}: {advice}"
