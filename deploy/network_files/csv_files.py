"""Reads networks from CSV, a table for nodes, links, sites and areas each, and writes them.

The columns are the fields of `Node`, `Link`, `Site` and `Area`; the course of a link is a LINESTRING in WKT.
A column that is missing keeps what is enrolled, an empty cell empties it.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from deploy.network_files.feature_record import FeatureRecord, known_fields, misspelt, read_text
from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import msgspec

    from deploy.network_files.feature_record import FeatureKind
    from ingest_service.storage.contract.models import Directory

TABLES: dict[FeatureKind, str] = {"area": "areas", "site": "sites", "node": "nodes", "link": "links"}


class TableRow:
    """A line of a CSV file: where it is, and its cells by column; cells of missing columns are missing."""

    def __init__(self, where: str, cells: dict[str, str]) -> None:
        self.where = where
        self.cells = cells

    def field_where(self) -> dict[str, str]:
        """Return the line with the column, by column."""
        return {name: f"{self.where}, column {name}" for name in self.cells}


def read_table(path: Path, problems: list[str]) -> tuple[list[str], list[TableRow]]:
    """Return the header and the rows of a CSV file; lines of another width are problems."""
    rows = csv.reader(io.StringIO(read_text(path, "a CSV file"), newline=""), strict=True)
    header: list[str] = []
    found: list[TableRow] = []
    try:
        header = [name.strip() for name in next(rows, [])]
        ended = rows.line_num
        for row in rows:
            where, ended = f"{path}, line {ended + 1}", rows.line_num  # the line where a row begins
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                problems.append(
                    f"{where}: has {len(row)} cells, and the header {len(header)}: a cell with a"
                    " comma stands in double quotes"
                )
                continue
            found.append(TableRow(where, dict(zip(header, (cell.strip() for cell in row), strict=True))))
    except csv.Error as error:
        problems.append(f"{path}, line {rows.line_num}: is no CSV: {error}")
    return header, found


def kind_of_header(header: Sequence[str]) -> FeatureKind | None:
    """Return what a table has, by its columns.

    >>> kind_of_header(["node_id", "site_id"]), kind_of_header(["x"])
    ('node', None)
    """
    for kind in ("link", "node", "site", "area"):
        if f"{kind}_id" in header:
            return kind
    return None


def read_csv(path: Path) -> list[FeatureRecord]:
    """Read one table. Raises `SiteFileError` with one sentence for each problem, with its line."""
    problems: list[str] = []
    header, rows = read_table(path, problems)
    kind = kind_of_header(header)
    if kind is None:
        raise SiteFileError(
            [
                *problems,
                f"{path}, line 1: has no column node_id, link_id, site_id or area_id: name the columns",
            ]
        )
    names = known_fields(kind)
    for name in header:
        if name not in names:
            meant = misspelt(name, names)
            advice = f" (did you mean {meant!r}?): correct it" if meant else f": there are {', '.join(names)}"
            problems.append(f"{path}, line 1: column {name!r} is not known{advice}")
        elif header.count(name) > 1:
            problems.append(f"{path}, line 1: column {name!r} is there twice: remove one")
    records = []
    for row in rows:
        fields: dict[str, Any] = {name: cell or None for name, cell in row.cells.items()}
        if fields.get("coordinates") is not None:
            try:
                fields["coordinates"] = course_of_wkt(fields["coordinates"])
            except ValueError as error:
                problems.append(f"{row.where}, column coordinates: {error}")
        records.append(FeatureRecord(kind, row.where, fields, row.field_where(), {}))
    if problems:
        raise SiteFileError(problems)
    return records


def course_of_wkt(text: str) -> list[tuple[float, float]]:
    """Return the points of a LINESTRING. Raises ValueError with a sentence for anything else.

    >>> course_of_wkt("LINESTRING (120.1 30.2, 120.2 30.25)")
    [(120.1, 30.2), (120.2, 30.25)]
    """
    import numpy as np  # noqa: PLC0415 - both take longer to import than --help takes to print
    import shapely  # noqa: PLC0415

    try:
        with np.errstate(invalid="ignore"):  # of NaN, which the checks report
            line = shapely.from_wkt(text)
    except shapely.errors.GEOSException as error:
        raise ValueError(f"{text[:60]!r} is no WKT: give LINESTRING (lon lat, lon lat, …)") from error
    if line.geom_type != "LineString" or line.is_empty:
        raise ValueError(f"{text[:60]!r} is no LINESTRING (lon lat, lon lat, …): give the course of the link")
    return [(float(x), float(y)) for x, y, *_ in line.coords]


def wkt_of_course(coordinates: Sequence[tuple[float, float]]) -> str:
    """Return a LINESTRING with the exact coordinates.

    >>> wkt_of_course([(120.1, 30.2), (120.2, 30.25)])
    'LINESTRING (120.1 30.2, 120.2 30.25)'
    """
    return f"LINESTRING ({', '.join(f'{lon!r} {lat!r}' for lon, lat in coordinates)})"


def write_csv(folder: Path, directory: Directory) -> list[Path]:
    """Write areas.csv, sites.csv, nodes.csv and links.csv into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, table in TABLES.items():
        path = folder / f"{table}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(known_fields(kind))
            writer.writerows(_cells(kind, getattr(directory, table)))
        written.append(path)
    return written


def _cells(kind: FeatureKind, features: Sequence[msgspec.Struct]) -> Iterator[list[Any]]:
    for one in features:
        values = [getattr(one, name) for name in known_fields(kind)]
        yield [
            wkt_of_course(value) if isinstance(value, list) and value else _cell_of(value) for value in values
        ]


def _cell_of(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or value == [] else value
