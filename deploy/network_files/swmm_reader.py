"""Reads nodes, reaches and cross-sections from an input file of SWMM 5 (``.inp``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.network_files import map_projection
from deploy.network_files.feature_record import FeatureRecord, ReadFeatures, read_text
from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOOT_M = 0.3048
US_FLOW_UNITS = {"CFS", "GPM", "MGD"}
FLOW_UNITS = US_FLOW_UNITS | {"CMS", "LPS", "MLD"}
ADDED_TAG = "towntwin:added"  # of what the export had to add for SWMM
ASSUMED_TAG = "towntwin:assumed:"  # followed by the fields that the export had to assume, joined by +
NODE_KINDS = {"JUNCTIONS": None, "DIVIDERS": None, "OUTFALLS": "mouth", "STORAGE": "lake"}
LINK_STRUCTURES = {
    "CONDUITS": None,
    "ORIFICES": "sluice",
    "OUTLETS": "sluice",
    "WEIRS": "weir",
    "PUMPS": "pump",
}
READ_SECTIONS = {*NODE_KINDS, *LINK_STRUCTURES, "XSECTIONS", "COORDINATES", "VERTICES", "OPTIONS", "TAGS"}
SILENT_SECTIONS = {"TITLE", "MAP", "REPORT", "SYMBOLS", "LABELS", "BACKDROP", "PROFILES"}
SECTION_SHAPES = {
    "CIRCULAR": "circular",
    "RECT_CLOSED": "rectangular",
    "RECT_OPEN": "rectangular",
    "TRAPEZOIDAL": "trapezoidal",
}
LENGTHS = {"width_m", "depth_m", "elevation_m", "length_m"}


class _InputLine(NamedTuple):
    where: str
    words: list[str]


def read_swmm(path: Path, crs: str | None = None) -> ReadFeatures:
    """Read an input file as nodes and links of the river network.

    Parameters
    ----------
    path : of the ``.inp`` file
    crs : coordinate system of its map, such as EPSG:4549; None for longitude and latitude

    Returns
    -------
    Junctions, dividers, outfalls and storage units as nodes; conduits, orifices, outlets, weirs and pumps as
    links. US units are converted. Offsets, inflows, controls and subcatchments are left out.

    Raises
    ------
    SiteFileError
        With one sentence for each problem, with its line.

    """
    reader = _SwmmReader(path, read_text(path, "an input file of SWMM"))
    records = reader.records(crs)
    if not records and not reader.problems:
        reader.problems.append(f"{path}: has no nodes: it is no input file of SWMM, or an empty one")
    if reader.problems:
        raise SiteFileError(reader.problems)
    return ReadFeatures(records, reader.notes)


class _SwmmReader:
    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._is_elsewhere = False  # whether positions are in another coordinate system
        self._sections: dict[str, list[_InputLine]] = {}
        section = ""
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split(";", 1)[0].split()
            if words and words[0].startswith("["):
                section = words[0].strip("[]").upper()
            elif words:
                self._sections.setdefault(section, []).append(_InputLine(f"{path}, line {number}", words))
        left_out = [one for one in self._sections if one not in READ_SECTIONS | SILENT_SECTIONS]
        if left_out:
            self.notes.append(f"{path}: not imported: {', '.join(f'[{one}]' for one in left_out)}")
        self._tags = {
            (words[0].lower(), words[1]): words[2]
            for _, words in self._sections.get("TAGS", [])
            if len(words) >= 3
        }
        self._unit_m = self._unit()

    def records(self, crs: str | None) -> list[FeatureRecord]:
        """Return nodes and links; problems and notes are collected."""
        positions = self._positions(crs)
        courses = self._courses(crs)
        links = [
            one
            for section in LINK_STRUCTURES
            for line in self._sections.get(section, [])
            if (one := self._link(section, line)) is not None
        ]
        fed = {one.fields["to_node"] for one in links}
        nodes = [
            one
            for section in NODE_KINDS
            for line in self._sections.get(section, [])
            if (one := self._node(section, line, positions, fed)) is not None
        ]
        node_positions = {one.fields["node_id"]: (one.fields["lon"], one.fields["lat"]) for one in nodes}
        sections = self._cross_sections()
        for one in links:
            name, ends = one.fields["link_id"], (one.fields["from_node"], one.fields["to_node"])
            where, section_fields = sections.get(name, (one.where, {}))
            one.field_where.update(dict.fromkeys(section_fields, where))
            one.fields.update(
                {key: value for key, value in section_fields.items() if key not in self._assumed(name)}
            )
            if name in courses and all(end in node_positions for end in ends):
                begin, end = (node_positions[end] for end in ends)
                one.fields["coordinates"] = [begin, *courses[name], end]
        return [*nodes, *links]

    def _unit(self) -> float:
        """Return the unit of length [m], which follows from the unit of flow."""
        options = {
            words[0].upper(): (where, words[-1].upper()) for where, words in self._section("OPTIONS", 2)
        }
        where, unit = options.get("FLOW_UNITS", (str(self.path), "CFS"))
        if unit not in FLOW_UNITS:
            self.problems.append(f"{where}: FLOW_UNITS {unit} is not known: {', '.join(sorted(FLOW_UNITS))}")
        return FOOT_M if unit in US_FLOW_UNITS else 1.0

    def _section(self, name: str, n_words: int) -> list[_InputLine]:
        """Return the lines of a section; those with too few words are problems."""
        lines = self._sections.get(name, [])
        self.problems += [
            f"{line.where}: a line of [{name}] has {n_words} values at least, this has {len(line.words)}"
            for line in lines
            if len(line.words) < n_words
        ]
        return [line for line in lines if len(line.words) >= n_words]

    def _numbers(self, line: _InputLine, words: Sequence[str]) -> list[float]:
        """Return words as numbers; a word that is none is a problem, and NaN."""
        numbers = []
        for word in words:
            try:
                number = float(word)
            except ValueError:
                number = math.nan
            if not math.isfinite(number):
                self.problems.append(f"{line.where}: {word!r} is no number")
                number = math.nan
            numbers.append(number)
        return numbers

    def _positions(self, crs: str | None) -> dict[str, tuple[float, float]]:
        return {name: points[0] for name, points in self._points("COORDINATES", crs).items()}

    def _courses(self, crs: str | None) -> dict[str, list[tuple[float, float]]]:
        return self._points("VERTICES", crs)

    def _points(self, section: str, crs: str | None) -> dict[str, list[tuple[float, float]]]:
        convert = map_projection.to_lon_lat(crs)
        points: dict[str, list[tuple[float, float]]] = {}
        for line in self._section(section, 3):
            x, y = self._numbers(line, line.words[1:3])
            if math.isnan(x + y):
                continue
            lon, lat = convert((x, y))
            if not map_projection.is_lon_lat((lon, lat)):
                if not self._is_elsewhere:  # once is enough: it is the same for all
                    self.problems.append(
                        f"{line.where}: {x:.10g} {y:.10g} is no longitude and latitude: give the map's"
                        " coordinate system, as --crs EPSG:4549"
                    )
                self._is_elsewhere = True
                break
            points.setdefault(line.words[0], []).append((lon, lat))
        return points

    def _assumed(self, link_id: str, kind: str = "link") -> set[str]:
        tag = self._tags.get((kind, link_id), "")
        return set(tag.removeprefix(ASSUMED_TAG).split("+")) if tag.startswith(ASSUMED_TAG) else set()

    def _node(
        self, section: str, line: _InputLine, positions: dict[str, tuple[float, float]], fed: set[str]
    ) -> FeatureRecord | None:
        name = line.words[0]
        if self._tags.get(("node", name)) == ADDED_TAG:
            return None
        if name not in positions:
            if not self._is_elsewhere:
                self.problems.append(f"{line.where}: node {name!r} has no position: add it to [COORDINATES]")
            return None
        fields: dict[str, Any] = {"node_id": name, "lon": positions[name][0], "lat": positions[name][1]}
        if len(line.words) > 1 and "elevation_m" not in self._assumed(name, "node"):
            (elevation,) = self._numbers(line, line.words[1:2])
            fields["elevation_m"] = elevation * self._unit_m
        kind = NODE_KINDS[section] or ("confluence" if name in fed else "source")
        return FeatureRecord("node", line.where, fields, {}, {"network": "river", "kind": kind})

    def _link(self, section: str, line: _InputLine) -> FeatureRecord | None:
        n_words = 5 if section == "CONDUITS" else 3
        if len(line.words) < n_words:
            self.problems.append(f"{line.where}: a line of [{section}] has {n_words} values at least")
            return None
        name, from_node, to_node = line.words[:3]
        if self._tags.get(("link", name)) == ADDED_TAG:
            return None
        fields: dict[str, Any] = {"link_id": name, "from_node": from_node, "to_node": to_node}
        if section == "CONDUITS":
            length, roughness = self._numbers(line, line.words[3:5])
            given = {"length_m": length * self._unit_m, "manning_n": roughness}
            fields |= {key: value for key, value in given.items() if key not in self._assumed(name)}
        else:
            fields["structure"] = LINK_STRUCTURES[section]
        return FeatureRecord("link", line.where, fields, {}, {"network": "river"})

    def _cross_sections(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return line and fields of the section of each link."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for line in self._section("XSECTIONS", 3):
            name, shape_word = line.words[0], line.words[1].upper()
            shape = SECTION_SHAPES.get(shape_word)
            if shape is None:
                self.notes.append(f"{line.where}: section {shape_word} of {name} is not imported")
                continue
            depth, width, left, right = (*self._numbers(line, line.words[2:6]), 0.0, 0.0, 0.0)[:4]
            fields: dict[str, Any] = {"section_shape": shape, "depth_m": depth * self._unit_m}
            fields["width_m"] = fields["depth_m"] if shape == "circular" else width * self._unit_m
            if shape == "trapezoidal":
                fields["side_slope"] = (left + right) / 2
            found[name] = (line.where, fields)
        return found
