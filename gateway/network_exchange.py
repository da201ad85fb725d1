"""Has files of networks read and written by a process of their own, with limits on time and memory.

The files are untrusted and their readers belong to the commands (`deploy.network_files`), which the gateway
doesn't import: it starts the command that it is given, sends one request to its standard input and reads one
answer from its standard output, both as MessagePack.
"""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from analytics.service.network_checks import NetworkFinding
from gateway.api.problems import ProblemError
from ingest_service.storage.contract.models import Directory
from ingest_service.storage.contract.network_changes import (
    NetworkChange,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ExchangeFormat = Literal["geojson", "csv", "gpkg", "swmm", "gmns"]
TIMEOUT_S: Final = 60.0  # of one request
FREE_S: Final = 10.0  # to wait for the end of another one


class NetworkImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How files are imported: what new features lack, and since when the change holds [Unix s].

    Without a time what is enrolled is corrected. ``replaces`` ends what is in no file.
    """

    area_id: str | None = None
    network: Literal["river", "road"] | None = None
    speed_m_s: float | None = None
    id_prefix: str | None = None
    crs: str | None = None
    valid_from_s: float | None = None
    replaces: bool = False


class NetworkReading(msgspec.Struct, frozen=True, kw_only=True, tag="read"):
    """Files by name to be read to a change of the enrolled networks."""

    files: dict[str, bytes]
    enrolled: Directory
    options: NetworkImportOptions


class NetworkWriting(msgspec.Struct, frozen=True, kw_only=True, tag="write"):
    """Networks to be written in a format."""

    file_format: ExchangeFormat
    directory: Directory
    crs: str | None = None


class FeatureChange(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that is added, changed or ended; ``fields`` has old and new values as text."""

    action: Literal["adds", "changes", "ends"]
    feature: str
    feature_id: str
    fields: dict[str, tuple[str, str]] = {}


class NetworkAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of the process.

    Attributes
    ----------
    problems : what is wrong in the files, each with its line; then there is nothing else
    notes : what was left out or assumed
    change, differences : of files that were read; `differences` lists what the change does
    findings : what the change would make wrong in the networks, with its place
    files : that were written, by name

    """

    problems: list[str] = []
    notes: list[str] = []
    change: NetworkChange | None = None
    differences: list[FeatureChange] = []
    findings: list[NetworkFinding] = []
    files: dict[str, bytes] = {}


class NetworkExchange:
    """Runs the process, one request at a time.

    Parameters
    ----------
    command : of the process; empty where files of networks can't be read and written

    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._busy = threading.Lock()

    def run(self, request: NetworkReading | NetworkWriting) -> NetworkAnswer:
        """Return the answer to a request.

        Raises
        ------
        ProblemError
            501 without a command, 503 while another request runs, 413 if the process takes too long or too
            much memory.

        """
        if not self._command:
            raise ProblemError(
                501, "this gateway reads and writes no files of networks: use towntwin network"
            )
        if not self._busy.acquire(timeout=FREE_S):
            detail = "other files of networks are read just now: try again in a few seconds"
            raise ProblemError(503, detail, headers={"Retry-After": "5"})
        try:
            done = subprocess.run(
                self._command,
                input=msgspec.msgpack.encode(request),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=TIMEOUT_S,
                env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
                check=True,
            )
            return msgspec.msgpack.decode(done.stdout, type=NetworkAnswer)
        except (subprocess.SubprocessError, msgspec.DecodeError) as error:
            raise ProblemError(
                413,
                "files: they take too long or too much memory to read: import them in parts",
                where="files",
            ) from error
        finally:
            self._busy.release()
