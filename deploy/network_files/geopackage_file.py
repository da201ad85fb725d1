"""Reads and writes networks as GeoPackage (OGC 12-128r19), an SQLite database.

Tables are named ``node``, ``link``, ``site`` and ``area``; their columns are the fields of the model.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from deploy.network_files.csv_files import TABLES
from deploy.network_files.feature_record import STRUCTS, FeatureRecord, known_fields, misspelt
from deploy.site_format import SiteFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.network_files.feature_record import FeatureKind
    from ingest_service.storage.contract.models import Directory

APPLICATION_ID, USER_VERSION = 0x47504B47, 10300  # "GPKG", version 1.3
LONGITUDE_LATITUDE = (4326, 4490)  # EPSG; 4490 is CGCS2000, within a metre of WGS 84
ENVELOPE_BYTES = (0, 32, 48, 48, 64)  # by the code in the flags of a geometry
GEOMETRIES: dict[FeatureKind, str] = {"node": "POINT", "site": "POINT", "link": "LINESTRING"}
WGS_84 = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]]'
)


def read_geopackage(path: Path) -> list[FeatureRecord]:
    """Read the tables of a GeoPackage.

    Raises
    ------
    SiteFileError
        With one sentence for each problem, with table and row.

    """
    if not path.is_file():
        raise SiteFileError([f"{path}: can't be read: give the path of a GeoPackage"])
    problems: list[str] = []
    records: list[FeatureRecord] = []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            for kind in ("area", "site", "node", "link"):
                records += _read_table(path, database, kind, problems)
    except sqlite3.Error as error:
        raise SiteFileError([f"{path}: is no GeoPackage: {error}"]) from error
    if not records and not problems:
        problems.append(f"{path}: has no rows in tables node, link, site or area: name its layers so")
    if problems:
        raise SiteFileError(problems)
    return records


def _read_table(
    path: Path, database: sqlite3.Connection, kind: FeatureKind, problems: list[str]
) -> list[FeatureRecord]:
    column, system = _geometry_column(database, kind)
    if column is not None and system not in LONGITUDE_LATITUDE:
        problems.append(
            f"{path}, table {kind}: has the coordinate system {system}: convert it to longitude and latitude,"
            " as `ogr2ogr -t_srs EPSG:4326` does"
        )
        return []
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (kind,)).fetchone():
        return []
    names = known_fields(kind)
    rows = database.execute(f'SELECT rowid AS "row number", * FROM "{kind}"').fetchall()  # noqa: S608 - of four
    for name in rows[0].keys() if rows else ():
        meant = None if name in {*names, column} else misspelt(name, names)
        if meant is not None:
            problems.append(f"{path}, table {kind}: column {name!r} is not known (did you mean {meant!r}?)")
    found = []
    for row in rows:
        where = f"{path}, table {kind}, row {row['row number']}"
        fields = {name: row[name] for name in names if name in row.keys()}  # noqa: SIM118 - a row has values
        if kind == "site" and "demo" in fields:
            fields["demo"] = bool(fields["demo"])
        try:
            fields |= _fields_of_geometry(kind, None if column is None else row[column])
        except ValueError as error:
            problems.append(f"{where}: {error}")
        found.append(FeatureRecord(kind, where, fields, {}, {}))
    return found


def _geometry_column(database: sqlite3.Connection, table: str) -> tuple[str | None, int | None]:
    """Return name and coordinate system (EPSG) of a table's geometry; None for a table without one."""
    found = database.execute(
        "SELECT column_name, organization_coordsys_id FROM gpkg_geometry_columns"
        " JOIN gpkg_spatial_ref_sys USING (srs_id) WHERE table_name = ?",
        (table,),
    ).fetchone()
    return (None, None) if found is None else (found[0], found[1])


def _fields_of_geometry(kind: FeatureKind, content: bytes | None) -> dict[str, Any]:
    """Return position or course of a geometry. Raises ValueError with a sentence for any other."""
    import shapely  # noqa: PLC0415 - takes longer to import than --help takes to print

    if content is None:
        return {}
    if content[:2] != b"GP" or len(content) < 8:
        raise ValueError("its geometry is not that of a GeoPackage")
    code = (content[3] >> 1) & 7
    try:
        shape = shapely.from_wkb(content[8 + ENVELOPE_BYTES[code] :])
    except (IndexError, shapely.errors.GEOSException) as error:
        raise ValueError("its geometry can't be decoded") from error
    if shape.geom_type.startswith("Multi") and len(shape.geoms) == 1:
        shape = shape.geoms[0]
    expected = "LineString" if kind == "link" else "Point"
    if shape.geom_type != expected or shape.is_empty:
        raise ValueError(f"its geometry is a {shape.geom_type}, and that of a {kind} has to be a {expected}")
    points = [(float(x), float(y)) for x, y, *_ in shape.coords]
    return {"coordinates": points} if kind == "link" else {"lon": points[0][0], "lat": points[0][1]}


def write_geopackage(path: Path, directory: Directory) -> None:
    """Write areas, sites, nodes and links, each as a table; an existing file is replaced."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {USER_VERSION}")
        schema = files("deploy.network_files").joinpath("geopackage.sql")
        database.executescript(schema.read_text("utf-8"))
        database.executemany(
            "INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, ?)",
            [
                ("Undefined cartesian SRS", -1, "NONE", -1, "undefined", None),
                ("Undefined geographic SRS", 0, "NONE", 0, "undefined", None),
                ("WGS 84 geodetic", 4326, "EPSG", 4326, WGS_84, "longitude and latitude"),
            ],
        )
        for kind, table in TABLES.items():
            _write_table(database, kind, getattr(directory, table))


def _write_table(database: sqlite3.Connection, kind: FeatureKind, features: Sequence[msgspec.Struct]) -> None:
    names = [name for name in known_fields(kind) if name != "coordinates"]
    columns = [f'"{name}" {_column_type(kind, name)}' for name in names]
    geometry = GEOMETRIES.get(kind)
    if geometry is not None:
        columns.insert(0, f'"geom" {geometry}')
    database.execute(f'CREATE TABLE "{kind}" (fid INTEGER PRIMARY KEY AUTOINCREMENT, {", ".join(columns)})')
    system = None if geometry is None else LONGITUDE_LATITUDE[0]
    database.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES (?, ?, ?, ?)",
        (kind, "attributes" if geometry is None else "features", kind, system),
    )
    if geometry is not None:
        database.execute(
            "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?, ?, 0, 0)", (kind, geometry, system)
        )
    marks = ", ".join("?" * len(columns))
    database.executemany(
        f'INSERT INTO "{kind}" VALUES (NULL, {marks})',  # noqa: S608 - names of fields
        [
            (*([] if geometry is None else [_geometry(one)]), *(getattr(one, name) for name in names))
            for one in features
        ],
    )


def _column_type(kind: FeatureKind, name: str) -> str:
    """Return the type of a column: of the field's own type, or of the one beside None."""
    text = str(next(one.type for one in msgspec.structs.fields(STRUCTS[kind]) if one.name == name))
    if "bool" in text:
        return "BOOLEAN"
    if "float" in text:
        return "REAL"
    return "INTEGER" if "int" in text else "TEXT"


def _geometry(feature: Any) -> bytes:
    """Return a point, or the course of a link, as the geometry of a GeoPackage (little-endian WKB)."""
    header = b"GP\x00\x01" + struct.pack("<i", LONGITUDE_LATITUDE[0])
    course = getattr(feature, "coordinates", None)
    if course is None:
        return header + struct.pack("<BIdd", 1, 1, feature.lon, feature.lat)
    return (
        header + struct.pack("<BII", 1, 2, len(course)) + b"".join(struct.pack("<dd", *one) for one in course)
    )
