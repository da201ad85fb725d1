"""Measures the HJ 212 server: frames a second and core, from bytes to spool entries, and over TCP with fsync.

Frames of a surface-water station (eleven factors, 447 bytes) are read and converted in one process; beside
it, in the same rounds, the checksum of annex A alone as the loop over bytes that the standard describes.
Then stations on loopback upload to the server with its durable spool, each waiting for its answer. Prints a
table, and last one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from edge.agent.settings import Settings
from edge.agent.spool import Spool
from gateway.hj212.frames import FrameReader
from gateway.hj212.segment import Segment, build_frame
from gateway.hj212.server import Hj212Server, SpoolWriter
from gateway.hj212.session import StationSession
from gateway.hj212.stations import Station

FRAMES = 20_000
ROUNDS = 3
STATIONS = 500
UPLOADS = 40  # of each station
CHUNK_BYTES = 16_384
FACTORS = (
    "w01001",
    "w01003",
    "w01009",
    "w01010",
    "w01014",
    "w01019",
    "w21001",
    "w21003",
    "w21011",
    "w01008",
    "w23002",
)


def main() -> None:
    """Run the benchmark."""
    stations = {f"S{number:04d}": _station(number) for number in range(STATIONS)}
    stream = b"".join(_upload(number % STATIONS, number) for number in range(FRAMES))
    _frames_per_cpu_s(stream, stations)  # layouts and tables are computed at the first use
    converted, checksums = [], []
    for _ in range(ROUNDS):
        converted.append(_frames_per_cpu_s(stream, stations))
        checksums.append(_loop_checksums_per_cpu_s(stream))
    over_tcp = asyncio.run(_uploads_per_s(stations))
    result = {
        "frames_per_cpu_s": round(statistics.median(converted)),
        "loop_checksums_per_cpu_s": round(statistics.median(checksums)),
        "answered_uploads_per_s": round(over_tcp),
        "stations": STATIONS,
    }
    print(f"frames to spool entries, a CPU second      {result['frames_per_cpu_s']:>10,}")
    print(f"checksum alone by a loop, a CPU second     {result['loop_checksums_per_cpu_s']:>10,}")
    print(f"uploads answered after fsync, {STATIONS} stations {result['answered_uploads_per_s']:>10,} /s")
    print(json.dumps({"benchmark": "hj212", **result}))


def _station(number: int) -> Station:
    return Station(station=f"S{number:04d}", area="330483-d1", device=f"st-{number:04d}")


def _upload(station: int, number: int) -> bytes:
    values = ";".join(f"{code}-Rtd={number % 97 / 10},{code}-Flag=N" for code in FACTORS)
    time_text = time.strftime("%Y%m%d%H%M%S", time.gmtime(1_790_000_000 + number * 60))
    return build_frame(
        Segment(
            request=f"{time_text}{number % 1000:03d}",
            system="21",
            command="2011",
            station=f"S{station:04d}",
            flag=5,
            content=f"DataTime={time_text};{values}",
        )
    )


def _frames_per_cpu_s(stream: bytes, stations: dict[str, Station]) -> float:
    reader, session = FrameReader(), StationSession(stations)
    begun_s, entries, answers = time.process_time(), 0, 0
    for start in range(0, len(stream), CHUNK_BYTES):
        for found in reader.feed(stream[start : start + CHUNK_BYTES]):
            outcome = session.receive(found)
            entries += len(outcome.entries)
            answers += outcome.answer is not None
    assert entries == answers == FRAMES
    return FRAMES / (time.process_time() - begun_s)


def _loop_checksums_per_cpu_s(stream: bytes) -> float:
    segments = [line[6:-4] for line in stream.split(b"\r\n")[: FRAMES // 100]]
    begun_s = time.process_time()
    for segment in segments:
        register = 0xFFFF
        for byte in segment:
            register = (register >> 8) ^ byte
            for _ in range(8):
                register = (register >> 1) ^ 0xA001 if register & 1 else register >> 1
    return len(segments) / (time.process_time() - begun_s)


async def _uploads_per_s(stations: dict[str, Station]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool.open(Path(folder) / "spool", Settings())
        writer = SpoolWriter(spool)
        server = Hj212Server(stations, writer, idle_s=60, max_connections=STATIONS)
        writing = asyncio.create_task(writer.run())
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        begun_s = time.monotonic()
        await asyncio.gather(*(_play_station(port, number) for number in range(STATIONS)))
        took_s = time.monotonic() - begun_s
        assert spool.waiting == STATIONS * UPLOADS
        listening.close()
        writing.cancel()
        spool.close()
    return STATIONS * UPLOADS / took_s


async def _play_station(port: int, station: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(UPLOADS):
        writer.write(_upload(station, number))
        await reader.readline()
    writer.close()
    await writer.wait_closed()


if __name__ == "__main__":
    main()
