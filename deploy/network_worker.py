"""Reads or writes files of networks for the gateway: one request on standard input, one answer on output.

Not meant to be run by hand: `gateway.network_exchange` starts it by ``python -m deploy.network_worker``.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from analytics.service import network_checks
from deploy.enrolment_changes import changed_entries
from deploy.network_files import change_builder, formats
from deploy.site_format import SiteFileError
from gateway.network_exchange import FeatureChange, NetworkAnswer, NetworkReading, NetworkWriting
from ingest_service.storage.contract.models import Directory
from ingest_service.storage.contract.network_changes import NetworkChangeError, plan_change

MEMORY_BYTES = 2 << 30  # of addresses; a town's files take some hundred megabytes
CPU_S = 60


def main() -> None:
    """Answer the request of standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=NetworkReading | NetworkWriting)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if isinstance(request, NetworkReading):
                answer = read(request, Path(folder))
            else:
                answer = write(request, Path(folder))
        except SiteFileError as error:
            answer = NetworkAnswer(problems=[one.replace(f"{folder}/", "") for one in error.problems])
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


def read(request: NetworkReading, folder: Path) -> NetworkAnswer:
    """Return the change that files make. Raises `SiteFileError` with a sentence for each problem."""
    options, enrolled = request.options, request.enrolled
    paths = [folder / Path(name).name for name in request.files]
    for path, content in zip(paths, request.files.values(), strict=True):
        path.write_bytes(content)
    found = formats.read_files(paths, options.crs, options.network)
    if options.id_prefix:
        found = formats.with_prefix(found, options.id_prefix)
    change = change_builder.build_change(
        found.records,
        enrolled,
        change_builder.ImportDefaults(options.area_id, options.network, options.speed_m_s),
        valid_from_s=options.valid_from_s,
        replaces=options.replaces,
    )
    try:
        plan_change(enrolled, change, time.time())
    except NetworkChangeError as error:
        raise SiteFileError([str(error)]) from error
    new = Directory(areas=change.areas, sites=change.sites, nodes=change.nodes, links=change.links)
    known = set(network_checks.check_networks(enrolled))
    return NetworkAnswer(
        notes=[one.replace(f"{folder}/", "") for one in found.notes],
        change=change,
        differences=[
            *(
                FeatureChange(action=one.action, feature=one.kind, feature_id=one.name, fields=one.fields)
                for one in changed_entries(enrolled, new)
            ),
            *(FeatureChange(action="ends", feature="node", feature_id=one) for one in change.ended_nodes),
            *(FeatureChange(action="ends", feature="link", feature_id=one) for one in change.ended_links),
        ],
        findings=[
            one
            for one in network_checks.check_networks(formats.preview(enrolled, change))
            if one not in known
        ],
    )


def write(request: NetworkWriting, folder: Path) -> NetworkAnswer:
    """Return the files of an export. Raises `SiteFileError` if the format can't hold the networks."""
    endings = {"geojson": "networks.geojson", "gpkg": "networks.gpkg", "swmm": "networks.inp"}
    path = folder / endings.get(request.file_format, "networks")
    written = formats.write_files(path, request.directory, request.file_format, request.crs)
    return NetworkAnswer(files={one.name: one.read_bytes() for one in written.paths}, notes=written.notes)


if __name__ == "__main__":
    main()
