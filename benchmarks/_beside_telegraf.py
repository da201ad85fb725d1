"""Measures ingest beside Telegraf: the same broker, database and readings, in turns.

Both receive messages queued in their broker session, at 100 readings a message and at 1. Both are struck by
nine blows while readings are published as fast as the broker accepts them: five kills (SIGKILL), two ends of
all their database sessions, two restarts of the database. Ingest judges each reading and sends receipts;
Telegraf does neither. Telegraf's configuration is in ``benchmarks/telegraf``. It writes a table of its own,
which has no key: with one, a repeated reading would let Telegraf write the same batch again for ever.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import psutil
import psycopg

from benchmarks import _box_memory, _telegraf
from benchmarks._bench_database import DatabaseReader, checkpoint, prepared_database
from benchmarks._ingest_process import IngestProcess
from benchmarks._mqtt_load import (
    TIMEOUT_S,
    Messages,
    end_session,
    payloads,
    publish,
    publish_from_process,
    servers,
)
from benchmarks._telegraf import TelegrafProcess
from tests.support.throwaway_servers import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.wire.senml import Record
    from tests.support.throwaway_servers import MosquittoServer, PostgresServer

TOWNTWIN = "towntwin"
NAMES = {
    TOWNTWIN: "towntwin, JSON",
    "json": "Telegraf, same JSON",
    "line_protocol": "Telegraf, line protocol",
}
"""What is measured, and how the table names it."""
POLL_S = 0.05
QUIET_S = 20.0  # without a new row for so long, what is missing is lost
BLOWS = ("kill", "kill", "sessions", "kill", "database", "kill", "sessions", "kill", "database")
BLOWS_READINGS, BLOWS_PER_MESSAGE = 500_000, 4
LAST_STORED = {
    "towntwin": """SELECT EXISTS (SELECT FROM reading WHERE series_id =
        (SELECT series_id FROM channel WHERE device_id = %s AND name = %s)
        AND time BETWEEN to_timestamp(%s) AND to_timestamp(%s))""",
    "telegraf": """SELECT EXISTS (SELECT FROM reading WHERE tag_id =
        (SELECT tag_id FROM reading_tag WHERE device = %s AND n = %s)
        AND time BETWEEN to_timestamp(%s) AND to_timestamp(%s))""",
}
COUNT = {
    "towntwin": "SELECT count(*), count(DISTINCT (series_id, time)) FROM reading",
    "telegraf": "SELECT count(*), count(DISTINCT (tag_id, time)) FROM reading",
}
END_SESSIONS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""


class Stage(NamedTuple):
    """Path of the Telegraf binary, the servers, and a folder for logs."""

    program: str
    server: PostgresServer
    broker: MosquittoServer
    folder: Path


class Receiver(NamedTuple):
    """What is measured: ``towntwin``, or Telegraf with the name of one of its inputs."""

    product: str
    wire: str
    process: IngestProcess | TelegrafProcess
    dsn: str


class Throughput(NamedTuple):
    """Readings/s, processor time per million readings [s], and peak resident memory [MB] of the receiver."""

    per_s: float
    cpu_s_per_million: float
    peak_mb: float


class Struck(NamedTuple):
    """Readings lost and stored twice after nine blows, and seconds from the first message to the last row."""

    lost: int
    doubled: int
    last_row_s: float


def json_payload(records: list[Record]) -> bytes:
    """Encode SenML without base values, which Telegraf does not resolve."""
    return msgspec.json.encode(
        [{"n": one.name, "t": one.time_s, "u": one.unit, "v": one.value} for one in records]
    )


def line_protocol_payload(records: list[Record]) -> bytes:
    """Encode InfluxDB's line protocol."""
    lines = [f"reading,n={one.name} v={one.value!r} {round(one.time_s * 1e6) * 1000}" for one in records]
    return "\n".join(lines).encode()


ENCODERS = {TOWNTWIN: json_payload, "json": json_payload, "line_protocol": line_protocol_payload}


@contextmanager
def receiver(stage: Stage, kind: str, per_message: int) -> Iterator[Receiver]:
    """Provide a receiver with a database of its own and a new session on the broker."""
    port, log = stage.broker.port, stage.folder / f"{time.monotonic_ns()}.log"
    if kind == TOWNTWIN:
        with prepared_database(stage.server, port) as dsn:
            yield Receiver(TOWNTWIN, "json", IngestProcess(dsn, port, log), dsn)
        return
    end_session(port, _telegraf.SESSION)
    with fresh_database(stage.server, is_empty=True) as dsn:
        checkpoint(stage.server)
        process = TelegrafProcess(
            stage.program, log, wire=kind, per_message=per_message, dsn=dsn, broker_port=port
        )
        yield Receiver("telegraf", kind, process, dsn)
    end_session(port, _telegraf.SESSION)


def throughput(one: Receiver, port: int, messages: Messages, readings: int, last: Record) -> Throughput:
    """Measure from the start of the session until all readings are committed."""
    one.process.subscribe()
    publish_from_process(port, messages)
    database = DatabaseReader(one.dsn)
    with one.process.running():
        began_s, began_cpu_s = time.perf_counter(), cpu_s(one)
        wait_for_last(one, database, messages[-1][0].split("/")[3], last)
        took_s, used_cpu_s = time.perf_counter() - began_s, cpu_s(one) - began_cpu_s
        peak_mb = _box_memory.peak_mb(process_id(one))
    stored = counts(one, database)
    assert stored == (readings, readings), f"{stored} of {readings:,} stored, and different"
    return Throughput(readings / took_s, used_cpu_s / readings * 1e6, peak_mb)


def wait_for_last(one: Receiver, database: DatabaseReader, device: str, last: Record) -> None:
    """Wait until the last reading that was published is stored."""
    ends_s = time.monotonic() + TIMEOUT_S
    parameters = (device, last.name, last.time_s - 1e-3, last.time_s + 1e-3)
    while True:
        with suppress(psycopg.errors.UndefinedTable):  # Telegraf creates it with the first reading
            if database.one(LAST_STORED[one.product], parameters) == (True,):
                return
        assert time.monotonic() < ends_s, f"{one.product}, {one.wire}: the last reading is not stored"
        time.sleep(POLL_S)


def cpu_s(one: Receiver) -> float:
    """Return the processor time that the receiver's process has used [s]."""
    return sum(psutil.Process(process_id(one)).cpu_times()[:2])


def process_id(one: Receiver) -> int:
    """Return the id of the receiver's process."""
    process = one.process
    return (process.process.process if isinstance(process, IngestProcess) else process.process).pid


def counts(one: Receiver, database: DatabaseReader) -> tuple[int, int]:
    """Return the number of stored rows, and of different readings among them."""
    rows, different = database.one(COUNT[one.product]) or (0, 0)
    return int(str(rows)), int(str(different))


def struck(one: Receiver, server: PostgresServer, port: int, messages: Messages, readings: int) -> Struck:
    """Publish, strike nine times, and count what is stored once no row comes any more."""
    database = DatabaseReader(one.dsn)
    sender = multiprocessing.Process(target=publish, args=(port, messages), daemon=True)
    with one.process.running():
        began_s = time.monotonic()
        sender.start()
        for number, blow in enumerate(BLOWS, start=1):
            wait_for(database, number * readings // (len(BLOWS) + 1))
            strike(one, server, blow)
        last_row_s = wait_for(database, readings, one) - began_s
        sender.join()
        assert sender.exitcode == 0, "the sender failed"
    rows, different = counts(one, database)
    return Struck(readings - different, rows - different, last_row_s)


def strike(one: Receiver, server: PostgresServer, blow: str) -> None:
    """Kill and start the receiver, end its database sessions, or restart the database."""
    if blow == "kill":
        process = one.process.process if isinstance(one.process, IngestProcess) else one.process
        process.kill()
        process.start()
    elif blow == "sessions":
        with psycopg.connect(one.dsn, autocommit=True) as connection:
            connection.execute(END_SESSIONS)
    else:
        server.stop()
        server.start()


def wait_for(database: DatabaseReader, readings: int, one: Receiver | None = None) -> float:
    """Wait until ``readings`` rows are stored, or none comes any more; return when the last came [s].

    With ``one``, the rows have to be different readings.
    """
    stored, changed_s = 0, time.monotonic()
    while time.monotonic() - changed_s < QUIET_S:
        with suppress(psycopg.errors.UndefinedTable):
            found = database.stored()
            if found > stored:
                stored, changed_s = found, time.monotonic()
                if stored >= readings and (one is None or counts(one, database)[1] >= readings):
                    break
        database.pause(POLL_S)
    return changed_s


def run(program: str, *, readings: int, singles: int, rounds: int) -> None:
    """Measure all in turns, and print the table and last one JSON line."""
    packed: dict[str, list[Throughput]] = {one: [] for one in NAMES}
    single: dict[str, list[Throughput]] = {one: [] for one in NAMES}
    hit: dict[str, list[Struck]] = {one: [] for one in NAMES}
    with servers() as (server, broker), tempfile.TemporaryDirectory() as folder:
        stage = Stage(program, server, broker, Path(folder))
        for _ in range(rounds):
            for kind in NAMES:
                packed[kind].append(measured(stage, kind, readings, 100))
                single[kind].append(measured(stage, kind, singles, 1))
            for kind in NAMES:
                messages = payloads(BLOWS_READINGS, BLOWS_PER_MESSAGE, ENCODERS[kind])
                with receiver(stage, kind, BLOWS_PER_MESSAGE) as one:
                    hit[kind].append(struck(one, server, broker.port, messages, BLOWS_READINGS))
    report(packed, single, hit)


def measured(stage: Stage, kind: str, readings: int, per_message: int) -> Throughput:
    """Measure the throughput of one receiver."""
    last: list[Record] = []

    def encode(records: list[Record]) -> bytes:
        last[:] = records[-1:]
        return ENCODERS[kind](records)

    messages = payloads(readings, per_message, encode)
    with receiver(stage, kind, per_message) as one:
        return throughput(one, stage.broker.port, messages, readings, last[0])


def report(
    packed: dict[str, list[Throughput]], single: dict[str, list[Throughput]], hit: dict[str, list[Struck]]
) -> None:
    """Print medians of the throughput and the processor time, and every round of the blows."""

    def medians(found: dict[str, list[Throughput]], name: str, form: str) -> list[str]:
        return [format(statistics.median(getattr(one, name) for one in found[kind]), form) for kind in NAMES]

    def each(name: str, form: str) -> list[str]:
        return [" ".join(format(getattr(one, name), form) for one in hit[kind]) for kind in NAMES]

    rows = {
        "100 readings a message, readings/s": medians(packed, "per_s", ",.0f"),
        "1 reading a message, readings/s": medians(single, "per_s", ",.0f"),
        "CPU s per million at 100 a message, process": medians(packed, "cpu_s_per_million", ".1f"),
        "CPU s per million at 1 a message, process": medians(single, "cpu_s_per_million", ".1f"),
        "peak RSS at 100 a message, MB": medians(packed, "peak_mb", ".0f"),
        "peak RSS at 1 a message, MB": medians(single, "peak_mb", ".0f"),
        f"nine blows, {BLOWS_READINGS:,} readings: lost": each("lost", ",d"),
        "nine blows: doubled": each("doubled", ",d"),
        "nine blows: s until the last row": each("last_row_s", ".1f"),
    }
    print(f"{'':48}" + "".join(f"{name:>26}" for name in NAMES.values()))
    for name, values in rows.items():
        print(f"{name:48}" + "".join(f"{value:>26}" for value in values))
    print(msgspec.json.encode({"packed": packed, "single": single, "nine_blows": hit}).decode())
