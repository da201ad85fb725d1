"""Plays recorded files to their end, for `towntwin replay`."""

from __future__ import annotations

import fcntl
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from deploy import audit, enrolment_changes, fleet, recorded, replay_summary, sites
from deploy.settings import SettingsError
from deploy.wiring import named_broker, open_store, stop_on_signals
from edge.drivers.mapping import did_you_mean
from ingest_service.storage.replays import readings_between

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from deploy.commands.replay import Settings
    from deploy.recorded import Plan, Publisher
    from deploy.replay_summary import Summary
    from deploy.settings import Common
    from edge.agent.settings import Settings as AgentSettings
    from edge.drivers.replay import Recording
    from ingest_service.storage.model import Directory
    from ingest_service.storage.postgres import PostgresStore


def run(args: argparse.Namespace, common: Common, settings: Settings, agent: AgentSettings) -> int:
    """Enrol what is missing, play the files to their end; the last line of stdout is the summary as JSON."""
    check_allowed(settings.allow)
    wanted = _site_files(args.enrol)
    broker = named_broker(common)
    recordings = recorded.open_all(args.files, args.mapping)
    print(f"reading {len(args.files)} files", file=sys.stderr, flush=True)
    recorded.read_all(recordings)
    stop = stop_on_signals()
    store = open_store(common, args, stop)
    try:
        known = store.directory()
        if wanted is not None:
            known = _enrol(store, known, wanted)
        devices = recorded.publishers(recordings, known, settings.area)
        plan = recorded.plan(devices, speed=settings.speed, shift=settings.shift)
        _print_before(recordings, plan)
        known = _enrol(store, known, recorded.missing(devices, known))
        audit.note(store, "replay", audit.told(args, "files", "mapping", "enrol"))
        fleet_of = partial(
            fleet.run,
            folder=settings.spool,
            broker=broker,
            settings=agent,
            clock=plan.clock,
            stop=stop,
            report=fleet.write_report(settings.report),
            total=plan.total,
        )
        with _alone(settings.spool):
            summary = _play(store, known, plan, fleet_of, allowed=settings.allow)
        written = msgspec.json.encode(summary)
        if settings.summary is not None:
            settings.summary.write_bytes(written)
    except OSError as error:
        raise SettingsError(f"--spool, --report or --summary can't be written: {error}") from error
    finally:
        store.close()
    for line in replay_summary.lines(summary):
        print(line, file=sys.stderr)
    print(written.decode())
    return 0 if summary.good else 1


def check_allowed(reasons: Sequence[str]) -> None:
    """Raise `SettingsError` for a reason that there is not."""
    known = [*replay_summary.ALL_REASONS, replay_summary.ALL]
    for reason in reasons:
        if reason not in known:
            raise SettingsError(
                f"--allow: there is no reason {reason!r}{did_you_mean(reason, known)}; "
                f"there are {', '.join(known)}"
            )


def _play(
    store: PostgresStore,
    known: Directory,
    plan: Plan,
    fleet_of: Callable[[Sequence[fleet.Member]], fleet.Report],
    *,
    allowed: Sequence[str],
) -> Summary:
    """Publish, wait for the receipts, and count what the database then has."""
    devices = [one for one, _ in plan.drivers]
    stretch = _stretch(known, devices, plan)
    before, letter_id = readings_between(store, *stretch), replay_summary.newest_letter(store)
    last = fleet_of([fleet.Member(one.area, one.device, driver) for one, driver in plan.drivers])
    recordings = list({id(one.recording): one.recording for one in devices}.values())
    return replay_summary.of_run(
        recorded.accounts(recordings),
        last,
        added=readings_between(store, *stretch) - before,
        dead=replay_summary.dead_readings(
            store, known, [one.device for one in devices], last.epochs, after_id=letter_id
        ),
        allowed=allowed,
    )


def _stretch(known: Directory, devices: Sequence[Publisher], plan: Plan) -> tuple[list[int], float, float]:
    """The series that are played, and from when to when, Unix seconds [s]."""
    ids = {(one.site_id, one.quantity): one.series_id for one in known.series}
    series = {
        ids[one.site, one.quantity]
        for device in devices
        for one in device.recording.series()
        if one.site in device.sites
    }
    first_s = min(one.recording.first_s() for one in devices) + plan.shift_s
    last_s = max(one.recording.last_s() for one in devices) + plan.shift_s
    return sorted(series), first_s, last_s


def _enrol(store: PostgresStore, known: Directory, wanted: Directory) -> Directory:
    """Print what is added and changed, then enrol it."""
    for sentence in enrolment_changes.shown(enrolment_changes.differences(known, wanted)):
        print(f"enrolment {sentence}", file=sys.stderr, flush=True)
    return store.enrol(wanted)


def _print_before(recordings: Sequence[Recording], plan: Plan) -> None:
    """What is known before anything is published."""
    for device, account in recorded.accounts(recordings):
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in account.left_out.items() if count)
        print(
            f"{account.path}: {account.readings:,} readings of device {device}; "
            f"left out: {left_out or 'nothing'}",
            file=sys.stderr,
        )
    if plan.early:
        print(
            f"{plan.early:,} readings were measured before 2000-01-01 and are left out (before-2000): the "
            "platform takes such times for a clock that was never set; --shift now makes them recent",
            file=sys.stderr,
        )
    print(f"{plan.total:,} readings will be played", file=sys.stderr, flush=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a spool folder to this process: two that play one device would take each other's session."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "replay.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(
                f"--spool {folder}: another replay uses this folder: wait for its end, or name another folder"
            ) from error
        yield


def _site_files(files: Sequence[Path] | None) -> Directory | None:
    try:
        return sites.load(files) if files else None
    except sites.SiteFileError as error:
        raise SettingsError(str(error)) from error
