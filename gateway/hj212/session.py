"""Converts what one HJ 212 connection receives to spool entries and answers; performs no I/O.

An upload becomes SenML messages of its station's device, one for each quality flag. What can't be read
becomes an entry with the property ``rejection``, which the platform stores whole as a dead letter. The answer
(9013 or 9014, HJ 212-2017 section 6.5) may be sent only once the entries are durable.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from edge.agent.spool import SpoolEntry
from edge.wire import receipts, senml
from edge.wire.senml import Record
from gateway.hj212 import metrics
from gateway.hj212.ciphers import decrypt_segment
from gateway.hj212.errors import CipherError, Hj212Error
from gateway.hj212.frames import ChecksumKind, Frame, RejectedBytes, RejectReason
from gateway.hj212.readings import GOOD, UPLOADS, uploaded_readings, usual_message
from gateway.hj212.segment import VERSION_MASK, Segment, decode_text, encode_segment, frame_of, parse_segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.hj212.readings import StationReading
    from gateway.hj212.stations import Station

NOTIFICATION_COMMAND = "1013"
NOTIFICATION_ANSWER = "9013"
UPLOAD_ANSWER = "9014"
RESPONSES = ("9011", "9012", "9013", "9014")
INTERACTION_SYSTEM = "91"
MAX_REJECTION_CHARACTERS = 300
MAX_RECENT_UPLOADS = 64


class FrameOutcome(NamedTuple):
    """What follows from one frame.

    Attributes
    ----------
    entries : to be stored durably
    answer : frame to be sent afterwards, or None
    segment : the frame's segment, if it is of a known station

    """

    entries: list[SpoolEntry]
    answer: bytes | None = None
    segment: Segment | None = None


class StationSession:
    """State of one connection: its station, recent uploads, and the time of a split transmission.

    Parameters
    ----------
    stations : settings of the known stations by MN

    Attributes
    ----------
    station : the station that last sent a valid frame, or None
    station_names : MN of all stations that sent one

    """

    def __init__(self, stations: Mapping[str, Station]) -> None:
        self._stations = stations
        self._has_reported_garbage = False
        self._split_time_s: tuple[str, float] | None = None  # command and DataTime of a split transmission
        self._recent: OrderedDict[tuple[str, str, int | None], None] = OrderedDict()
        self.station: Station | None = None
        self.station_names: set[str] = set()

    def receive(self, received: Frame | RejectedBytes) -> FrameOutcome:
        """Process a frame, or bytes that are none."""
        if isinstance(received, RejectedBytes):
            return self._reject_bytes(received)
        try:
            segment, station = self._authenticated(received)
        except Hj212Error as error:
            metrics.REJECTED.labels("segment").inc()
            return FrameOutcome([self._rejection(received.segment, str(error))])
        self.station = station
        self.station_names.add(station.station)
        metrics.FRAMES_OF.get(segment.command, metrics.OTHER_FRAMES).inc()
        if segment.command in RESPONSES:
            return FrameOutcome([], segment=segment)
        key = (segment.request, segment.command, segment.packet)
        if segment.request and key in self._recent:
            metrics.DUPLICATES.inc()
            return FrameOutcome([], self._answer(segment, station), segment)
        entries = self._entries(segment, station, received.segment)
        self._recent[key] = None
        if len(self._recent) > MAX_RECENT_UPLOADS:
            self._recent.popitem(last=False)
        return FrameOutcome(entries, self._answer(segment, station), segment)

    def _reject_bytes(self, received: RejectedBytes) -> FrameOutcome:
        metrics.REJECTED.labels(received.reason.value).inc()
        if received.reason is RejectReason.GARBAGE:
            # Modems send keep-alive texts for as long as they are connected: one dead letter shows them.
            if self._has_reported_garbage:
                return FrameOutcome([])
            self._has_reported_garbage = True
        return FrameOutcome([self._rejection(received.raw, received.detail)])

    def _authenticated(self, frame: Frame) -> tuple[Segment, Station]:
        """Return the segment, decrypted if necessary, and its station. Raises `Hj212Error`."""
        segment = parse_segment(decode_text(frame.segment))
        station = self._stations.get(segment.station)
        if station is None:
            raise Hj212Error(f"station MN={segment.station} is unknown: enter it in the file of stations")
        if frame.checksum_kind is ChecksumKind.MODBUS:
            metrics.MODBUS_CHECKSUMS.inc()
            if not station.modbus_checksum:
                raise Hj212Error(
                    f"the checksum {frame.checksum:04X} is that of Modbus, not of HJ 212: mend the station,"
                    f" or set modbus_checksum = true for {segment.station}"
                )
        if frame.wrong_length:
            metrics.WRONG_LENGTHS.inc()
            if not station.wrong_length:
                raise Hj212Error(
                    f"{frame.wrong_length}: mend the station, or set wrong_length = true for"
                    f" {segment.station}"
                )
        if frame.checksum_kind is ChecksumKind.OF_PLAIN_TEXT:
            if station.key_bytes is None:
                raise CipherError(
                    f"the content is encrypted, and station {segment.station} has no key: enter its SM4 key"
                )
            plain = decrypt_segment(frame.segment, station.key_bytes, frame.checksum)
            segment = parse_segment(decode_text(plain))
        if station.password is not None and segment.password != station.password:
            raise Hj212Error(f"the password PW of station {segment.station} is not the one entered for it")
        return segment, station

    def _entries(self, segment: Segment, station: Station, raw: bytes) -> list[SpoolEntry]:
        if segment.command not in UPLOADS:
            return []
        if segment.resent:
            metrics.RESENT.inc()
        usual = usual_message(segment, station)
        if usual is not None:
            self._split_time_s = (segment.command, usual.time_s) if segment.packet else None
            return [SpoolEntry(usual.payload, usual.readings, station.address)]
        earlier = self._split_time_s
        earlier_s = earlier[1] if earlier and earlier[0] == segment.command and segment.packet else None
        try:
            uploaded = uploaded_readings(segment, station, earlier_time_s=earlier_s)
        except Hj212Error as error:
            metrics.REJECTED.labels("content").inc()
            return [self._rejection(raw, str(error))]
        self._split_time_s = (segment.command, uploaded.time_s) if segment.packet else None
        entries = _messages(uploaded.readings, station.address)
        if uploaded.faults:
            metrics.REJECTED.labels("content").inc()
            entries.append(self._rejection(raw, "; ".join(uploaded.faults)))
        return entries

    def _rejection(self, raw: bytes, detail: str) -> SpoolEntry:
        """Return the entry with which bytes become a dead letter, of the connection's station if known."""
        address = self.station.address if self.station else ""
        return SpoolEntry(
            raw, 0, address, ((receipts.REJECTION_PROPERTY, detail[:MAX_REJECTION_CHARACTERS]),)
        )

    def _answer(self, segment: Segment, station: Station) -> bytes | None:
        if not segment.answer_wanted or station.acknowledge == "never":
            return None
        as_sent = station.acknowledge == "as_sent"
        version = (segment.flag or 0) & VERSION_MASK
        ending = _answer_ending(
            segment.system if as_sent else INTERACTION_SYSTEM,
            NOTIFICATION_ANSWER if segment.command == NOTIFICATION_COMMAND else UPLOAD_ANSWER,
            segment.password,
            segment.station,
            segment.flag if as_sent else version,
        )
        return frame_of(f"QN={segment.request};".encode() + ending if segment.request else ending)


@lru_cache(maxsize=8192)
def _answer_ending(system: str, command: str, password: str, station: str, flag: int | None) -> bytes:
    """Return what follows QN in answers to a station, which is the same in all of them."""
    return encode_segment(
        Segment(system=system, command=command, password=password, station=station, flag=flag)
    )


def _messages(readings: list[StationReading], address: str) -> list[SpoolEntry]:
    """Return one SenML message for each quality flag; missing values are left out."""
    by_quality: dict[int, list[Record]] = {}
    for one in readings:
        if one.record.value is not None:
            by_quality.setdefault(one.quality, []).append(one.record)
    return [
        SpoolEntry(
            senml.encode_json(records),
            len(records),
            address,
            () if quality == GOOD else ((receipts.QUALITY_PROPERTY, str(quality)),),
        )
        for quality, records in by_quality.items()
    ]
