"""Imports and exports the networks as files for the API and the console, and audits what was imported."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from gateway.api.problems import ProblemError, not_found
from gateway.network_exchange import NetworkAnswer, NetworkReading, NetworkWriting
from ingest_service.storage.contract.network_changes import NetworkChangeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.request_context import RequestContext
    from gateway.network_exchange import ExchangeFormat, NetworkImportOptions
    from ingest_service.storage.contract.models import Directory

MAX_FILES: Final = 10
FILE_NAME: Final = re.compile(r"[\w.\- ]{1,100}")
MEDIA_TYPES: Final = {
    "geojson": "application/geo+json",
    "gpkg": "application/geopackage+sqlite3",
    "swmm": "text/plain; charset=utf-8",
}


class ExportedNetworks(NamedTuple):
    """A file to be downloaded; several files of one format are in a ZIP archive."""

    name: str
    media_type: str
    content: bytes


def import_networks(
    context: RequestContext,
    files: Sequence[tuple[str, bytes]],
    options: NetworkImportOptions,
    *,
    is_dry_run: bool,
    expected: str | None = None,
) -> NetworkAnswer:
    """Read files and change the networks by them, all or nothing.

    Parameters
    ----------
    files : names and contents
    is_dry_run : nothing is changed
    expected : `change_digest` of a dry run; where the change is another one now, nothing is changed

    Returns
    -------
    NetworkAnswer
        With problems, nothing was changed.

    Raises
    ------
    ProblemError
        422 for names that are none, or too many files; 409 where the networks were changed meanwhile;
        those of `NetworkExchange.run`.

    """
    if not 1 <= len(files) <= MAX_FILES:
        raise ProblemError(422, f"files: give 1 to {MAX_FILES} files", where="files")
    for name, _ in files:
        if not FILE_NAME.fullmatch(name) or name.startswith("."):
            raise ProblemError(
                422,
                "files: a name has letters, digits, dots, hyphens and spaces alone: rename it",
                where="files",
            )
    if len(dict(files)) < len(files):
        raise ProblemError(422, "files: two have the same name: give each a name of its own", where="files")
    store, directory = context.all_areas_store, context.directory_index.directory
    if options.area_id is not None and options.area_id not in {one.area_id for one in directory.areas}:
        raise not_found("area", options.area_id)
    request = NetworkReading(files=dict(files), enrolled=store.directory(), options=options)
    answer = context.network_exchange.run(request)
    if answer.change is None or is_dry_run or expected not in {None, change_digest(answer)}:
        return answer
    try:
        store.change_network(answer.change)
    except NetworkChangeError as error:
        raise ProblemError(409, f"{error}") from error
    context.add_audit_detail(
        files=[name for name, _ in files],
        sha256=[hashlib.sha256(content).hexdigest() for _, content in files],
        changes=len(answer.differences),
        valid_from_s=options.valid_from_s,
    )
    return answer


def change_digest(answer: NetworkAnswer) -> str:
    """Return a digest of what a change does, to confirm that very change."""
    return hashlib.sha256(msgspec.json.encode(answer.change)).hexdigest()


def export_networks(
    context: RequestContext, directory: Directory, file_format: ExchangeFormat, crs: str | None = None
) -> ExportedNetworks:
    """Return networks as a file.

    Raises
    ------
    ProblemError
        422 if the format can't hold the networks; those of `NetworkExchange.run`.

    """
    writing = NetworkWriting(file_format=file_format, directory=directory, crs=crs)
    answer = context.network_exchange.run(writing)
    if answer.problems:
        raise ProblemError(422, f"format: {answer.problems[0]}", where="format")
    if file_format in MEDIA_TYPES:
        ((name, content),) = answer.files.items()
        return ExportedNetworks(name, MEDIA_TYPES[file_format], content)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in answer.files.items():
            zipped.writestr(name, content)
    return ExportedNetworks(f"networks-{file_format}.zip", "application/zip", archive.getvalue())
