"""Reads a fleet of devices from a CSV file, one channel a line, into a `Directory`.

The columns are in `COLUMNS`, and ``limit.NAME`` for a limit of the quality checks. Areas form a hierarchy: a
line has the ids of city, county and town that it lies in, and the area of its site is the lowest one. What is
the same for several lines (the names of an area, the position of a site) may stand in the first of them only.
"""

from __future__ import annotations

import csv
import io
import math
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy import site_checks
from deploy.site_checks import SiteFileEntry
from deploy.site_format import CLASSES, SiteFileError, unreadable_file
from ingest_service.storage.contract.models import Area, Channel, Device, Directory, Series, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEVELS = ("city", "county", "town")
AREA_COLUMNS = tuple(f"{level}_{part}" for level in LEVELS for part in ("id", "en", "zh"))
SITE_COLUMNS = ("site_id", "kind", "site_en", "site_zh", "lon", "lat", "target_class")
COLUMNS = (*AREA_COLUMNS, *SITE_COLUMNS, "device_id", "channel", "quantity", "interval_s")
REQUIRED = ("site_id", "device_id", "quantity")
LIMIT_PREFIX = "limit."
DEFAULT_INTERVAL_S = 300.0
MAX_FILE_BYTES = 32 << 20
MAX_PROBLEMS = 50


class _Line(NamedTuple):
    """A line of the file: where it is, and its cells that are not empty, by column."""

    where: str
    cells: dict[str, str]


class _FirstLine(NamedTuple):
    """Columns of a site or an area in the first line that names it; later lines must agree."""

    where: str
    cells: dict[str, str]


class FleetReader:
    """Collects the entries of a file's lines, and a sentence for each problem with its line."""

    def __init__(self) -> None:
        self.entries: list[SiteFileEntry] = []
        self.problems: list[str] = []
        self._first_lines: dict[tuple[str, str], _FirstLine] = {}
        self._enrolled_areas: dict[str, Area] = {}
        self._enrolled_sites: dict[str, Site] = {}

    def read(self, path: Path, enrolled: Directory) -> Directory:
        """Read a file. Raises `SiteFileError` with one sentence for each problem."""
        self._enrolled_areas = {one.area_id: one for one in enrolled.areas}
        self._enrolled_sites = {one.site_id: one for one in enrolled.sites}
        for line in _lines(path, self.problems):
            self._add(line)
        self.problems += site_checks.entry_problems(self.entries, enrolled)
        if not self.entries and not self.problems:
            self.problems.append(f"{path}: has no lines below its header: add one for each channel")
        if self.problems:
            more = len(self.problems) - MAX_PROBLEMS
            shown = self.problems[:MAX_PROBLEMS]
            raise SiteFileError([*shown, f"{path}: {more} more problems"] if more > 0 else shown)
        values = [entry.value for entry in self.entries]
        return Directory(
            areas=[one for one in values if isinstance(one, Area)],
            sites=[one for one in values if isinstance(one, Site)],
            devices=[one for one in values if isinstance(one, Device)],
            series=[one for one in values if isinstance(one, Series)],
            channels=[one for one in values if isinstance(one, Channel)],
        )

    def _add(self, line: _Line) -> None:
        missing = [name for name in REQUIRED if name not in line.cells]
        if missing:
            self.problems.append(f"{line.where}: {', '.join(missing)} is empty: fill it in")
            return
        area_id = self._add_areas(line)
        if area_id is None:
            self.problems.append(f"{line.where}: city_id, county_id and town_id are empty: fill in one")
            return
        site_id, device_id, quantity = (line.cells[name] for name in REQUIRED)
        self._add_site(line, site_id, area_id)
        if self._is_first(line, "device", device_id, {"area_id": area_id}):
            self._append(line, Device(device_id=device_id, area_id=area_id))
        interval_s = self._number(line, "interval_s", DEFAULT_INTERVAL_S)
        limits = {
            name.removeprefix(LIMIT_PREFIX): self._number(line, name, math.nan)
            for name in line.cells
            if name.startswith(LIMIT_PREFIX)
        }
        if math.isnan(interval_s) or any(map(math.isnan, limits.values())):
            return
        self._append(line, Series(site_id=site_id, quantity=quantity, interval_s=interval_s, limits=limits))
        name = line.cells.get("channel", quantity)
        self._append(line, Channel(device_id=device_id, name=name, site_id=site_id, quantity=quantity))

    def _add_areas(self, line: _Line) -> str | None:
        """Add the areas of a line that are new; return the lowest."""
        parent: str | None = None
        for level in LEVELS:
            area_id = line.cells.get(f"{level}_id")
            if area_id is None:
                continue
            present = self._enrolled_areas.get(area_id)
            cells = {
                part: line.cells[f"{level}_{part}"]
                for part in ("en", "zh")
                if f"{level}_{part}" in line.cells
            }
            given = cells | ({} if parent is None else {"parent": parent})
            if self._is_first(line, level, area_id, given):
                if present is not None:
                    parent = parent or present.parent
                    cells = {"en": present.en, "zh": present.zh} | cells
                name = cells.get("zh") or cells.get("en")
                if name is None:
                    self.problems.append(
                        f"{line.where}: {level} {area_id!r} is new and has no name: fill in {level}_en or"
                        f" {level}_zh"
                    )
                else:
                    names: Any = {"en": cells.get("en", name), "zh": cells.get("zh", name)}
                    area = Area(area_id=area_id, parent=parent, level=level, **names)  # type: ignore[arg-type]
                    self._append(line, area)
            parent = area_id
        return parent

    def _add_site(self, line: _Line, site_id: str, area_id: str) -> None:
        given = {name: line.cells[name] for name in SITE_COLUMNS[1:] if name in line.cells}
        if not self._is_first(line, "site", site_id, given | {"area_id": area_id}):
            return
        present = self._enrolled_sites.get(site_id)
        if present is not None and not given and present.area_id == area_id:
            return
        missing = [name for name in ("kind", "lon", "lat") if name not in given]
        if missing and present is None:
            self.problems.append(
                f"{line.where}: site {site_id!r} is new, and {', '.join(missing)} is empty: fill it in"
            )
            return
        lon = self._number(line, "lon", math.nan if present is None else present.lon)
        lat = self._number(line, "lat", math.nan if present is None else present.lat)
        if math.isnan(lon) or math.isnan(lat):
            return
        zh = given.get("site_zh") or given.get("site_en") or (present.zh if present else site_id)
        self._append(
            line,
            Site(
                site_id=site_id,
                area_id=area_id,
                kind=given.get("kind", present.kind if present else ""),
                en=given.get("site_en") or (present.en if present else zh),
                zh=zh,
                lon=lon,
                lat=lat,
                external_id=present.external_id if present else None,
                grid_cell=present.grid_cell if present else None,
                target_class=self._target_class(line, present),
                demo=present.demo if present else False,
            ),
        )

    def _target_class(self, line: _Line, present: Site | None) -> int | None:
        text = line.cells.get("target_class")
        if text is None:
            return present.target_class if present else None
        if text in CLASSES:
            return CLASSES.index(text) + 1
        if text.isascii() and text.isdigit():
            return int(text)
        self.problems.append(f"{line.where}, column target_class: {text!r} is none of {', '.join(CLASSES)}")
        return None

    def _is_first(self, line: _Line, kind: str, name: str, given: dict[str, str]) -> bool:
        """Whether this is the first line of an entry; a later one that contradicts it is a problem."""
        first = self._first_lines.get((kind, name))
        if first is None:
            self._first_lines[kind, name] = _FirstLine(line.where, given)
            return True
        for column, value in given.items():
            if first.cells.get(column, value) != value:
                self.problems.append(
                    f"{line.where}: {kind} {name!r} has {column} {value!r}, and {first.cells[column]!r} in"
                    f" {first.where.rpartition(', ')[2]}: correct one of them"
                )
        return False

    def _number(self, line: _Line, column: str, default: float) -> float:
        text = line.cells.get(column)
        if text is None:
            return default
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            comma = " (a decimal point, no comma)" if "," in text else ""
            self.problems.append(f"{line.where}, column {column}: {text!r} is no number{comma}")
            return math.nan
        return number

    def _append(self, line: _Line, value: Any) -> None:
        self.entries.append(SiteFileEntry(line.where, value))


def read_fleet(path: Path, enrolled: Directory) -> Directory:
    """Read a CSV file of devices. Raises `SiteFileError` with a sentence for each problem, with its line."""
    return FleetReader().read(path, enrolled)


def _lines(path: Path, problems: list[str]) -> Iterator[_Line]:
    """Yield the lines of a file; unknown columns and lines of another width are problems."""
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        _check_header(path, header)
        ended = rows.line_num
        for row in rows:
            where, ended = f"{path}, line {ended + 1}", rows.line_num  # the line where a row begins
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if len(cells) != len(header):
                problems.append(
                    f"{where}: has {len(cells)} cells, and the header {len(header)}: a cell with a"
                    " comma stands in double quotes"
                )
                continue
            yield _Line(where, {name: cell for name, cell in zip(header, cells, strict=True) if cell})
    except csv.Error as error:
        problems.append(f"{path}, line {rows.line_num}: is no CSV: {error}")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SiteFileError([f"{path}: is larger than {MAX_FILE_BYTES >> 20} MB: divide it"])
        content = path.read_bytes()
    except OSError as error:
        raise unreadable_file(path, error, "a CSV file") from error
    for encoding in ("utf-8-sig", "gb18030"):  # spreadsheets in Chinese write the latter
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise SiteFileError([f"{path}: is a text in neither UTF-8 nor GB 18030: save it as CSV UTF-8"])


def _check_header(path: Path, header: list[str]) -> None:
    """Raise `SiteFileError` for unknown, missing or repeated columns."""
    problems = []
    for name in header:
        if name not in COLUMNS and not name.startswith(LIMIT_PREFIX):
            close = get_close_matches(name, COLUMNS, 1)
            known = f": there are {', '.join(COLUMNS)} and limit.NAME"
            advice = f" (did you mean {close[0]!r}?): correct it" if close else known
            problems.append(f"{path}, line 1: column {name!r} is not known{advice}")
        elif header.count(name) > 1:
            problems.append(f"{path}, line 1: column {name!r} is there twice: remove one")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        problems.append(f"{path}, line 1: {', '.join(missing)} is missing: the first line names the columns")
    if problems:
        raise SiteFileError(problems)
