"""Sends the frames of a spool to an upper platform over TCP, each until it is answered (9014)."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge.wire.backoff import Backoff
from gateway.hj212 import metrics
from gateway.hj212.checksum import hj212_checksum
from gateway.hj212.ciphers import encrypt_segment
from gateway.hj212.commands import RESULT_CODE
from gateway.hj212.errors import Hj212Error
from gateway.hj212.frames import Frame, FrameReader
from gateway.hj212.segment import Segment, build_frame, decode_text, encode_segment, frame_of, parse_segment
from gateway.hj212.stations import time_zone_of

if TYPE_CHECKING:
    from gateway.hj212.forward.settings import UpperPlatform
    from gateway.hj212.forward.spool import ForwardSpool, SpooledFrame

log = structlog.get_logger()

LIVE_S = 60.0  # a frame that waits longer is back-fill, and marked as sent again in the edition of 2025
IDLE_POLL_S = 0.5
CONNECT_S = 10.0
CHUNK_BYTES = 65_536
MAX_SILENT_FRAMES = 3  # without an answer one after the other: the connection is given up
REQUEST_REJECTED = 2  # QnRtn: this sender takes no commands


class PlatformSender:
    """Keeps a connection to one platform, and sends while it stands.

    Parameters
    ----------
    platform, spool : its settings and frames

    """

    def __init__(self, platform: UpperPlatform, spool: ForwardSpool) -> None:
        self._platform, self._spool = platform, spool
        self._answered: dict[str, asyncio.Future[Segment]] = {}
        self._backoff = Backoff(first_s=0.5, longest_s=60.0)

    async def run(self) -> None:
        """Connect, send and connect again until cancelled."""
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    reader, writer = await asyncio.open_connection(self._platform.host, self._platform.port)
            except (OSError, TimeoutError) as error:
                await self._wait_for_retry(str(error) or "no answer to the connection")
                continue
            try:
                await self._serve(reader, writer)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _wait_for_retry(self, reason: str) -> None:
        wait_s = self._backoff.next_s()
        log.warning(
            "platform_away",
            platform=self._platform.name,
            reason=reason,
            next_try_s=round(wait_s, 1),
            frames=self._spool.waiting,
        )
        await asyncio.sleep(wait_s)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiving = asyncio.create_task(self._receive(reader, writer))
        sending = asyncio.create_task(self._send_frames(writer))
        try:
            done, _ = await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with suppress(OSError):
                    task.result()
        finally:
            for task in (receiving, sending):
                task.cancel()
            await asyncio.gather(receiving, sending, return_exceptions=True)
        await self._wait_for_retry("the connection ended")

    async def _send_frames(self, writer: asyncio.StreamWriter) -> None:
        """Send until too many frames in a row have no answer."""
        silent = 0
        while silent < MAX_SILENT_FRAMES:
            frame = self._spool.next(time.time(), LIVE_S)
            if frame is None:
                await asyncio.sleep(IDLE_POLL_S)
                continue
            if await self._send(frame, writer):
                silent = 0
                self._backoff.reset()
            else:
                silent += 1

    async def _send(self, frame: SpooledFrame, writer: asyncio.StreamWriter) -> bool:
        """Send a frame until it is answered or its attempts are used up; returns whether it was answered."""
        request = self._request(frame.number)
        answered: asyncio.Future[Segment] = asyncio.get_running_loop().create_future()
        self._answered[request] = answered
        try:
            for attempt in range(1 + self._platform.re_count):
                is_resent = frame.attempts + attempt > 0 or time.time() - frame.put_s > LIVE_S
                # Before it is sent: after a kill it counts as sent.
                self._spool.count_attempt(frame.number, time.time() + self._platform.over_time_s)
                metrics.FORWARDED.labels(self._platform.name).inc()
                writer.write(self._encoded(frame.segment, request, is_resent=is_resent))
                await writer.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._platform.over_time_s):
                        return self._accept(frame, await asyncio.shield(answered))
        finally:
            del self._answered[request]
        log.warning("no_answer", platform=self._platform.name, request=request)
        return False

    def _accept(self, frame: SpooledFrame, answer: Segment) -> bool:
        """Delete an answered frame; one that was refused stays, and is sent again later."""
        if answer.command != "9014":
            log.error("frame_refused", platform=self._platform.name, answer=answer.content[:100])
            metrics.FORWARD_REFUSED.labels(self._platform.name).inc()
            self._spool.count_attempt(frame.number, time.time() + 60.0)
            return True
        self._spool.delete(frame.number)
        metrics.FORWARD_ANSWERED.labels(self._platform.name).inc()
        return True

    def _request(self, number: int) -> str:
        """Return QN of a frame: 17 digits of local time, unique in its spool and the same in all attempts."""
        milliseconds = self._spool.request_of(number)
        local_time = datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone(
            time_zone_of(self._platform.utc_offset)
        )
        return f"{local_time:%Y%m%d%H%M%S}{milliseconds % 1000:03d}"

    def _encoded(self, segment: Segment, request: str, *, is_resent: bool) -> bytes:
        marks = is_resent and self._platform.edition == 2025
        text = encode_segment(msgspec.structs.replace(segment, request=request, resent=marks))
        key = self._platform.key_bytes
        if key is None:
            return frame_of(text)
        return b"##%04d%s%04X\r\n" % (len(text), encrypt_segment(text, key), hj212_checksum(text))

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Match answers with frames; commands of the platform are rejected, as the standard wants."""
        frames = FrameReader()
        while data := await reader.read(CHUNK_BYTES):
            for found in frames.feed(data):
                if not isinstance(found, Frame):
                    continue
                try:
                    segment = parse_segment(decode_text(found.segment))
                except Hj212Error:
                    continue
                waiting = self._answered.get(segment.request)
                if segment.command == "9014" or (
                    segment.command == "9011" and _is_refusal(segment) and waiting is not None
                ):
                    if waiting is not None and not waiting.done():
                        waiting.set_result(segment)
                elif segment.answer_wanted and not segment.command.startswith("9"):
                    writer.write(_rejection(segment))
                    await writer.drain()


def _is_refusal(segment: Segment) -> bool:
    return any(name == "QnRtn" and code != "1" for name, code in RESULT_CODE.findall(segment.content))


def _rejection(segment: Segment) -> bytes:
    return build_frame(
        Segment(
            request=segment.request,
            system="91",
            command="9011",
            password=segment.password,
            station=segment.station,
            flag=(segment.flag or 0) & 0b11111100,
            content=f"QnRtn={REQUEST_REJECTED}",
        )
    )
