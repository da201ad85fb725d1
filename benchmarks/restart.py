"""Measures the recovery time of ingest after it or its database was killed under load.

500,000 readings, four per message, are published as fast as a real Mosquitto accepts them. Meanwhile ingest
is killed (SIGKILL) five times and restarted at once, and the real TimescaleDB is killed twice and restarted.
Measured after each kill are the seconds until the next batch of new readings is committed, the seconds until
the process logged that its state was restored and that it was subscribed, and its CPU seconds, which do not
depend on other load of the machine. ``--standby`` runs a second ingest process as a hot standby, which takes
over: the seconds are those from the kill, and the killed process is started again as the standby. In the end
every reading must be stored once. Prints a table, and last one JSON line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from benchmarks._bench_database import DatabaseReader, prepared_database
from benchmarks._ingest_process import bytecode_environment
from benchmarks._mqtt_load import SERIES, TIMEOUT_S, payloads, publish, servers
from tests.support.processes import PlatformProcess, running_processes, wait_until

if TYPE_CHECKING:
    from tests.support.throwaway_servers import PostgresServer

READINGS = 500_000
READINGS_WITH_STANDBY = 2_000_000  # the load goes on while a killed process becomes the standby
PER_MESSAGE = 4
KILLS = ("ingest", "ingest", "database", "ingest", "ingest", "database", "ingest")
POLL_S = 0.01
COUNT_POLL_S = 0.05
SETTLE_S = 0.1  # a COMMIT that the killed process has sent is still executed
STANDBY_READY = ("standing_by", "judge_loaded")  # in its log: it has loaded everything and tries the lock
PHASES = ("broker_connected", "subscribed", "state_restored", "judge_loaded")
NEWEST = "SELECT max(received) FROM latest"
COUNT = "SELECT count(*), count(DISTINCT (series_id, time)) FROM reading"


class KillResult(NamedTuple):
    """Result of one kill, with times since the restart that followed it.

    Attributes
    ----------
    victim : ``ingest``, ``database``, or ``standby``
    at : readings stored when it was killed
    back_s : from the kill until the server or the process was restarted [s]
    phases_s : from the start to each of `PHASES`; empty for a database [s]
    stored_s : from the start, with a standby from the kill, to the next committed batch [s]
    cpu_s : CPU time that the ingest process had used by then; 0 if ingest was not killed [s]

    """

    victim: str
    at: int
    restart_delay_s: float
    phases_s: dict[str, float]
    stored_s: float
    cpu_s: float


def wait_for(database: DatabaseReader, readings: int) -> int:
    """Wait until ``readings`` readings are stored; return how many there are then."""
    ends_s = time.monotonic() + TIMEOUT_S
    while (stored := database.stored()) < readings:
        assert time.monotonic() < ends_s, f"{stored:,} of {readings:,} readings stored"
        database.pause(COUNT_POLL_S)
    return stored


def wait_for_change(database: DatabaseReader, before: tuple[object, ...] | None) -> None:
    """Wait until a reading is stored that was received after all previous ones."""
    ends_s = time.monotonic() + TIMEOUT_S
    while (now := database.one(NEWEST)) is None or now == before:
        assert time.monotonic() < ends_s, "nothing is stored any more"
        time.sleep(POLL_S)


def phases(log: Path, since: int, started_s: float) -> dict[str, float]:
    """Return the times from a process's start to each of `PHASES` in its log after offset ``since`` [s]."""
    found: dict[str, float] = {}
    for line in log.read_text()[since:].splitlines():
        with suppress(ValueError):
            log_event = json.loads(line)
            if log_event["event"] in PHASES and log_event["event"] not in found:
                at_s = datetime.fromisoformat(log_event["timestamp"]).timestamp()
                found[log_event["event"]] = round(at_s - started_s, 2)
    return found


def kill(
    victim: str, ingest: PlatformProcess, server: PostgresServer, database: DatabaseReader
) -> KillResult:
    """Kill ingest or the database, restart it, and wait until a new reading is stored."""
    at, written = database.stored(), len(ingest.log.read_text())
    killed_s = time.time()
    if victim == "ingest":
        ingest.kill()
        time.sleep(SETTLE_S)
        before = database.one(NEWEST)
        ingest.start()
    else:
        before = database.one(NEWEST)
        server.kill()
        server.start()
    started_s = time.time()
    wait_for_change(database, before)
    stored_s = time.time() - started_s
    log, cpu_s = {}, 0.0
    if victim == "ingest":
        log = phases(ingest.log, written, started_s)
        cpu_s = sum(psutil.Process(ingest.process.pid).cpu_times()[:2])
    return KillResult(victim, at, started_s - killed_s, log, stored_s, cpu_s)


def kill_owner(owner: PlatformProcess, standby: PlatformProcess, database: DatabaseReader) -> KillResult:
    """Kill the owner of the shard, wait until its standby has stored a new reading, and start it again."""
    at, written = database.stored(), len(standby.log.read_text())
    killed_s = time.time()
    owner.kill()
    time.sleep(SETTLE_S)
    wait_for_change(database, database.one(NEWEST))
    stored_s = time.time() - killed_s
    log = phases(standby.log, written, killed_s)
    written = len(owner.log.read_text())
    owner.start()
    wait_until_ready(owner, written)
    # A kill of the database may have exchanged the roles: then nobody had to take over.
    return KillResult("ingest" if log else "standby", at, 0.0, log, stored_s, 0.0)


def wait_until_ready(standby: PlatformProcess, since: int) -> None:
    """Wait until a process stands by, as its log has it after offset ``since``."""
    wait_until(
        lambda: all(one in standby.log.read_text()[since:] for one in STANDBY_READY),
        within_s=TIMEOUT_S,
        what="a process stands by",
    )


def main() -> None:
    """Publish, kill, check and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks restart")
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--standby", action="store_true", help="a second ingest process takes over")
    has_standby = parser.parse_args().standby
    with servers() as (server, broker), tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ingest.log"
        with prepared_database(server, broker.port) as dsn:
            database = DatabaseReader(dsn)
            environ = {
                "TOWNTWIN_DSN": dsn,
                "TOWNTWIN_BROKER": broker.url,
                "TOWNTWIN_LOG_FORMAT": "json",
                **bytecode_environment(Path(folder)),
            }
            ingest = PlatformProcess("ingest", log=log, **environ)
            standby = PlatformProcess("ingest", log=Path(folder) / "standby.log", **environ)
            readings = READINGS_WITH_STANDBY if has_standby else READINGS
            messages = payloads(readings, PER_MESSAGE)
            sender = multiprocessing.Process(target=publish, args=(broker.port, messages), daemon=True)
            with running_processes(ingest), ExitStack() as stack:
                while not (log.exists() and "subscribed" in log.read_text()):
                    time.sleep(POLL_S)
                if has_standby:
                    stack.enter_context(running_processes(standby))
                    wait_until_ready(standby, 0)
                began_s = time.monotonic()
                sender.start()
                kills = []
                for number, victim in enumerate(KILLS, start=1):
                    wait_for(database, number * readings // (len(KILLS) + 1))
                    if has_standby and victim == "ingest":
                        kills.append(kill_owner(ingest, standby, database))
                        ingest, standby = standby, ingest
                    else:
                        kills.append(kill(victim, ingest, server, database))
                wait_for(database, readings)
                took_s = time.monotonic() - began_s
                sender.join()
                assert sender.exitcode == 0, "the sender failed"
                assert ingest.stop() == 0
                if has_standby:
                    assert standby.stop() == 0
            stored, distinct = (int(str(one)) for one in database.one(COUNT) or (0, 0))
    report(kills, readings, took_s, stored, distinct)


def report(kills: list[KillResult], readings: int, took_s: float, stored: int, distinct: int) -> None:
    """Print the recovery of each kill, and assert that no reading was lost or duplicated."""
    print(f"{'killed':10}{'at':>10}{'until started':>15}{'until stored':>14}{'CPU':>9}   from start to")
    for one in kills:
        log_event = ", ".join(f"{name} {at_s:.2f}" for name, at_s in one.phases_s.items())
        print(
            f"{one.victim:10}{one.at:>10,}{one.restart_delay_s:>13.2f} s{one.stored_s:>12.2f} s"
            f"{one.cpu_s:>7.2f} s   {log_event}"
        )
    print(f"all {readings:,} readings of {SERIES} series took {took_s:.1f} s")
    assert (stored, distinct) == (readings, readings), f"{stored:,} stored, {distinct:,} of them different"
    stored_s_by_victim = {
        name: [one.stored_s for one in kills if one.victim == name] for name in ("ingest", "database")
    }
    cpu_s = [one.cpu_s for one in kills if one.cpu_s]  # a takeover has none
    line = {
        "readings": readings,
        "took_s": round(took_s, 1),
        **{
            f"{name}_stored_again_s": [round(one, 2) for one in found]
            for name, found in stored_s_by_victim.items()
        },
        **({"ingest_cpu_median_s": round(statistics.median(cpu_s), 2)} if cpu_s else {}),
        "ingest_stored_again_median_s": round(statistics.median(stored_s_by_victim["ingest"]), 2),
        "lost": readings - distinct,
        "doubled": stored - distinct,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
