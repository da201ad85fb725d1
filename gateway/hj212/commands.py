"""Builds the frames of commands to stations, and interprets the stations' answers.

A command is a request with Flag bit 0. The station answers 9011 (QnRtn: it is ready, or why not), may send
the data that were requested under the same QN, and ends with 9012 (ExeRtn). Source: HJ 212-2017 section 6.5
and annex C.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gateway.hj212.checksum import hj212_checksum
from gateway.hj212.ciphers import encrypt_segment
from gateway.hj212.segment import (
    ANSWER_WANTED,
    VERSION_2017,
    VERSION_MASK,
    Segment,
    encode_segment,
    frame_of,
)
from gateway.hj212.stations import time_zone_of
from ingest_service.storage.postgres.station_commands import StationAnswer

if TYPE_CHECKING:
    from gateway.hj212.stations import Station
    from ingest_service.storage.postgres.station_commands import ClaimedCommand

REQUEST_ANSWER, RESULT = "9011", "9012"
QN_READY, EXE_SUCCESS = 1, 1
ENCRYPTED_COMMANDS = range(2000, 3000)  # HJ 212-2025, beside 1014 and 3020
DEFAULT_PASSWORD = "123456"  # noqa: S105 - what stations have that nobody gave another one
RESULT_CODE = re.compile(r"(?:^|[;,])\s*(QnRtn|ExeRtn)=([0-9]{1,4})(?=[;,]|$)")


class StationDialect(NamedTuple):
    """What a station's own frames show of how it expects requests: ST, PW and the edition in Flag."""

    system: str = "21"
    password: str = DEFAULT_PASSWORD
    edition: int = VERSION_2017


def dialect_of(segment: Segment) -> StationDialect:
    """Return the dialect of a station by one of its frames."""
    return StationDialect(
        segment.system,
        segment.password or DEFAULT_PASSWORD,
        VERSION_2017 if segment.flag is None else segment.flag & VERSION_MASK,
    )


def command_frame(
    claimed: ClaimedCommand, station: Station, dialect: StationDialect, *, now_s: float | None = None
) -> bytes:
    r"""Build the frame of a command, encrypted if the station has a key and the command needs it.

    >>> from gateway.hj212.stations import Station
    >>> from ingest_service.storage.postgres.station_commands import ClaimedCommand
    >>> command_frame(ClaimedCommand(1, "d", "1062", {"interval_s": 30}, "20160801085857223"),
    ...     Station(station="01", area="a", device="d"), StationDialect("32", "100000"))
    b'##0079QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=01;Flag=5;CP=&&RtdInterval=30&&0280\r\n'
    """
    text = encode_segment(
        Segment(
            request=claimed.request,
            system=dialect.system,
            command=claimed.command,
            password=station.password or dialect.password,
            station=station.station,
            flag=dialect.edition | ANSWER_WANTED,
            content=command_content(
                claimed.command,
                claimed.parameters,
                utc_offset=station.utc_offset,
                now_s=time.time() if now_s is None else now_s,
            ),
        )
    )
    if station.key_bytes is None or int(claimed.command) not in ENCRYPTED_COMMANDS:
        return frame_of(text)
    return b"##%04d%s%04X\r\n" % (
        len(text),
        encrypt_segment(text, station.key_bytes),
        hj212_checksum(text),
    )


def command_content(command: str, parameters: dict[str, Any], *, utc_offset: str, now_s: float) -> str:
    """Return the content of a command; the time of 1012 is that of its sending, in the station's local time.

    >>> command_content("2051", {"from_s": 1767225600, "to_s": 1767229200}, utc_offset="+08:00", now_s=0)
    'BeginTime=20260101080000,EndTime=20260101090000'
    """

    def local(time_s: float) -> str:
        local_time = datetime.fromtimestamp(time_s, UTC).astimezone(time_zone_of(utc_offset))
        return f"{local_time:%Y%m%d%H%M%S}"

    if command == "1012":
        factor = f"PolId={parameters['factor']};" if parameters.get("factor") else ""
        return f"{factor}SystemTime={local(now_s)}"
    if command == "1000":
        return f"OverTime={parameters['over_time_s']};ReCount={parameters['re_count']}"
    if command == "1062":
        return f"RtdInterval={parameters['interval_s']}"
    if "from_s" in parameters:
        return f"BeginTime={local(parameters['from_s'])},EndTime={local(parameters['to_s'])}"
    return ""


def station_answer(segment: Segment, device_id: str, *, is_upload: bool) -> StationAnswer | None:
    """Interpret a frame that carries a request number; None if it can be no answer to a command."""
    if not segment.request:
        return None
    codes = {name: int(code) for name, code in RESULT_CODE.findall(segment.content)}
    answer = StationAnswer(
        device_id=device_id,
        request=segment.request,
        command=segment.command,
        content=segment.content[:2000],
        is_upload=is_upload,
    )
    if segment.command == REQUEST_ANSWER:
        code = codes.get("QnRtn", QN_READY)
        if code == QN_READY:
            return _with(answer, state="accepted")
        return _with(answer, state="refused", result=code, is_final=True)
    if segment.command == RESULT:
        code = codes.get("ExeRtn", EXE_SUCCESS)
        return _with(answer, state="done" if code == EXE_SUCCESS else "failed", result=code, is_final=True)
    if is_upload or segment.command.startswith("10"):
        return answer
    return None


def _with(answer: StationAnswer, **changes: Any) -> StationAnswer:
    return msgspec.structs.replace(answer, **changes)
