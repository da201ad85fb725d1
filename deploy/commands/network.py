"""Import, export and check the river and road networks (docs/howto/exchange-networks.md)."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.argument_bounds import bounded_number
from deploy.command_resources import open_store
from deploy.settings import CommonSettings, SettingsError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from analytics.service.network_checks import NetworkFinding
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.contract.network_changes import NetworkChange
    from ingest_service.storage.postgres.store import PostgresStore

MAX_SHOWN_FINDINGS = 20
FORMATS = ("geojson", "csv", "gpkg", "swmm", "gmns")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    actions = parser.add_subparsers(dest="action", required=True)
    bring = actions.add_parser("import", help="add and change nodes and links, from files")
    bring.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="GeoJSON, CSV, SWMM (.inp) or GMNS (node.csv, link.csv)",
    )
    bring.add_argument("--dry-run", action="store_true", help="print what would change, and change nothing")
    bring.add_argument("--id-prefix", help="put before the ids of nodes and links, to make them unique")
    bring.add_argument("--area", help="of sites and nodes that are new and have none")
    bring.add_argument(
        "--network",
        choices=("river", "road"),
        help="of nodes that are new and have none; of .osm.pbf, this network alone",
    )
    bring.add_argument(
        "--speed-m-s", type=bounded_number(1e-3, 60.0), help="of links that are new and have none"
    )
    bring.add_argument(
        "--valid-from",
        metavar="TIME",
        help="since when the change holds (2026-04-01); without it, what is enrolled is corrected",
    )
    bring.add_argument(
        "--replace",
        action="store_true",
        help="end the nodes and links of the same areas and networks that are not in the files",
    )
    export = actions.add_parser("export", help="write nodes and links to a file, or to a folder for CSV")
    export.add_argument(
        "path", type=Path, metavar="PATH", help="FILE.geojson, FILE.gpkg, FILE.inp, or a folder"
    )
    export.add_argument("--format", choices=FORMATS, help="by default that of the path's ending")
    check = actions.add_parser("check", help="what can't be right: returns 1 if something is found")
    check.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    for one in (bring, export):
        one.add_argument("--crs", help="coordinate system of a map that names none, as EPSG:4549 (.inp)")
    for one in (export, check):
        one.add_argument("--area", help="this area and those below it alone")
        one.add_argument("--at", metavar="TIME", help="the networks that were valid then; now by default")
    export.add_argument("--network", choices=("river", "road"), help="one network alone")


def run(args: argparse.Namespace, common: CommonSettings) -> int:
    """Run an action; return 1 if a check found something."""
    store = open_store(common, args)
    try:
        if args.action == "import":
            return _import(args, store)
        return _export(args, store) if args.action == "export" else _check(args, store)
    finally:
        store.close()


def _import(args: argparse.Namespace, store: PostgresStore) -> int:
    from analytics.service import network_checks
    from deploy import command_audit, enrolment_changes
    from deploy.network_files import change_builder, formats
    from deploy.site_format import SiteFileError

    enrolled = store.directory()
    try:
        found = formats.read_files(args.files, args.crs, args.network)
        if args.id_prefix:
            found = formats.with_prefix(found, args.id_prefix)
        change = change_builder.build_change(
            found.records,
            enrolled,
            change_builder.ImportDefaults(args.area, args.network, args.speed_m_s),
            valid_from_s=_time_of(args.valid_from, "--valid-from", store),
            replaces=args.replace,
        )
    except SiteFileError as error:
        raise SettingsError(str(error)) from error
    sentences = _differences(enrolled, change)
    known = set(network_checks.check_networks(enrolled))
    findings = [
        one for one in network_checks.check_networks(formats.preview(enrolled, change)) if one not in known
    ]
    if args.dry_run:
        _check_change(enrolled, change)
        print("\n".join([*sentences, f"dry run: {len(sentences)} changes, none made"]))
    else:
        _change(store, change)
        command_audit.record_command(
            store,
            "network import",
            command_audit.command_arguments(args, "files", "area", "network", "valid_from", "replace"),
        )
        print("\n".join([*enrolment_changes.summarise_changes(sentences), f"{len(sentences)} changes"]))
    for note in found.notes:
        print(note, file=sys.stderr)
    _print_findings(findings)
    return 0


def _differences(enrolled: Directory, change: NetworkChange) -> list[str]:
    from deploy import enrolment_changes
    from ingest_service.storage.contract.models import Directory

    new = Directory(areas=change.areas, sites=change.sites, nodes=change.nodes, links=change.links)
    return [
        *enrolment_changes.enrolment_differences(enrolled, new),
        *(f"ends node {name}" for name in change.ended_nodes),
        *(f"ends link {name}" for name in change.ended_links),
    ]


def _check_change(enrolled: Directory, change: NetworkChange) -> None:
    """Raise `SettingsError` if the store would refuse a change."""
    import time

    from ingest_service.storage.contract.network_changes import NetworkChangeError, plan_change

    try:
        plan_change(enrolled, change, time.time())
    except NetworkChangeError as error:
        raise SettingsError(str(error)) from error


def _change(store: PostgresStore, change: NetworkChange) -> None:
    from ingest_service.storage.contract.network_changes import NetworkChangeError

    try:
        store.change_network(change)
    except NetworkChangeError as error:
        raise SettingsError(str(error)) from error


def _export(args: argparse.Namespace, store: PostgresStore) -> int:
    from deploy.network_files import formats
    from deploy.site_format import SiteFileError

    directory = _directory(args, store, args.network)
    try:
        written = formats.write_files(args.path, directory, args.format, args.crs)
    except (SiteFileError, OSError) as error:
        raise SettingsError(str(error)) from error
    for note in written.notes:
        print(note, file=sys.stderr)
    network = formats.NETWORK_OF_FORMAT.get(written.file_format)
    nodes, links = (
        sum(network in {None, one.network} for one in features)
        for features in (directory.nodes, directory.links)
    )
    print(f"{nodes} nodes, {links} links: {', '.join(map(str, written.paths))}")
    return 0


def _check(args: argparse.Namespace, store: PostgresStore) -> int:
    import msgspec

    from analytics.service import network_checks

    directory = _directory(args, store, None)
    findings = network_checks.check_networks(directory)
    if args.json:
        print(msgspec.json.encode(findings).decode())
    elif not findings:
        print(f"{len(directory.nodes)} nodes and {len(directory.links)} links: nothing is found")
    else:
        _print_findings(findings, len(findings))
    return 1 if findings else 0


def _directory(args: argparse.Namespace, store: PostgresStore, network: str | None) -> Directory:
    """Return the areas and the time that the arguments give."""
    from deploy.network_files import formats
    from ingest_service.storage.contract.area_tree import areas_below

    directory = store.directory()
    at_s = _time_of(args.at, "--at", store)
    if at_s is not None:
        directory = directory.valid_at(at_s)
    areas = {one.area_id for one in directory.areas}
    if args.area is not None:
        if args.area not in areas:
            raise SettingsError(f"--area: there is no area {args.area!r}")
        areas = areas_below(directory.areas, args.area)
    return formats.part_of(directory, areas, network)


def _time_of(text: str | None, option: str, store: PostgresStore) -> float | None:
    """Return a date or time, in the towns' time zone unless it has an offset [Unix s]."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {text!r} is no date or time, as 2026-04-01") from error
    return (time if time.tzinfo else time.replace(tzinfo=store.zone)).timestamp()


def _print_findings(findings: Sequence[NetworkFinding], limit: int = MAX_SHOWN_FINDINGS) -> None:
    for one in findings[:limit]:
        name = f"{one.feature} {one.feature_id} ({one.zh}) at {one.lon:.5f}, {one.lat:.5f}"
        print(f"{one.check}: {name}: {one.explanation_en}", file=sys.stderr)
    if len(findings) > limit:
        print(f"{len(findings) - limit} more findings: see `towntwin network check`", file=sys.stderr)
