"""Runs `towntwin replay`: enrols missing devices, publishes recorded files to their end, prints a summary."""

from __future__ import annotations

import fcntl
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from deploy import agent_fleet, command_audit, enrolment_changes, recorded_devices, replay_summary, site_files
from deploy.command_resources import broker_of_settings, open_store, stop_on_signals
from deploy.settings import SettingsError
from edge.drivers.file_mapping import did_you_mean
from ingest_service.storage.postgres.reading_counts import count_readings_between

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from deploy.commands.replay import Settings
    from deploy.recorded_devices import PlayPlan, RecordedDevice
    from deploy.replay_summary import ReplaySummary
    from deploy.settings import CommonSettings
    from edge.agent.settings import Settings as AgentSettings
    from edge.drivers.replay_driver import Recording
    from ingest_service.storage.contract.models import Directory
    from ingest_service.storage.postgres.store import PostgresStore


def run_replay(
    args: argparse.Namespace, common: CommonSettings, settings: Settings, agent: AgentSettings
) -> int:
    """Enrol what is missing and publish the files; the last line of stdout is the summary as JSON."""
    check_allowed_reasons(settings.allow)
    broker = broker_of_settings(common)
    recordings = recorded_devices.open_recordings(args.files, args.mapping)
    print(f"reading {len(args.files)} files", file=sys.stderr, flush=True)
    recorded_devices.read_recordings(recordings)
    stop = stop_on_signals()
    store = open_store(common, args, stop)
    try:
        enrolled = store.directory()
        site_file_directory = _load_site_files(args.enrol, enrolled)
        if site_file_directory is not None:
            enrolled = _print_and_enrol(store, enrolled, site_file_directory)
        devices = recorded_devices.devices_of_recordings(recordings, enrolled, settings.area)
        plan = recorded_devices.make_play_plan(devices, speed=settings.speed, shift=settings.shift)
        _print_plan(recordings, plan)
        enrolled = _print_and_enrol(store, enrolled, recorded_devices.missing_enrolment(devices, enrolled))
        command_audit.record_command(
            store, "replay", command_audit.command_arguments(args, "files", "mapping", "enrol")
        )
        fleet_of = partial(
            agent_fleet.run_fleet,
            folder=settings.spool,
            broker=broker,
            settings=agent,
            clock=plan.clock,
            stop=stop,
            report=agent_fleet.progress_writer(settings.report),
            total=plan.total,
        )
        with _lock_spool_folder(settings.spool):
            summary = _publish_and_summarise(store, enrolled, plan, fleet_of, allowed=settings.allow)
        written = msgspec.json.encode(summary)
        if settings.summary is not None:
            settings.summary.write_bytes(written)
    except OSError as error:
        raise SettingsError(f"--spool, --report or --summary can't be written: {error}") from error
    finally:
        store.close()
    for line in replay_summary.summary_lines(summary):
        print(line, file=sys.stderr)
    print(written.decode())
    return 0 if summary.good else 1


def check_allowed_reasons(reasons: Sequence[str]) -> None:
    """Raise `SettingsError` for a reason that does not exist."""
    enrolled = [*replay_summary.ALL_REASONS, replay_summary.EVERY_REASON]
    for reason in reasons:
        if reason not in enrolled:
            raise SettingsError(
                f"--allow: there is no reason {reason!r}{did_you_mean(reason, enrolled)}; "
                f"there are {', '.join(enrolled)}"
            )


def _publish_and_summarise(
    store: PostgresStore,
    enrolled: Directory,
    plan: PlayPlan,
    fleet_of: Callable[[Sequence[agent_fleet.FleetMember]], agent_fleet.FleetProgress],
    *,
    allowed: Sequence[str],
) -> ReplaySummary:
    """Publish, wait for the receipts, and count the readings that were added to the database."""
    devices = [one for one, _ in plan.drivers]
    time_range = _series_and_time_range(enrolled, devices, plan)
    before, letter_id = (
        count_readings_between(store, *time_range),
        replay_summary.newest_dead_letter_id(store),
    )
    last = fleet_of([agent_fleet.FleetMember(one.area, one.device, driver) for one, driver in plan.drivers])
    recordings = list({id(one.recording): one.recording for one in devices}.values())
    return replay_summary.summarise_replay(
        recorded_devices.file_reports(recordings),
        last,
        added=count_readings_between(store, *time_range) - before,
        dead=replay_summary.count_dead_readings(
            store, enrolled, [one.device for one in devices], last.epochs, after_id=letter_id
        ),
        allowed=allowed,
    )


def _series_and_time_range(
    enrolled: Directory, devices: Sequence[RecordedDevice], plan: PlayPlan
) -> tuple[list[int], float, float]:
    """Return the ids of the published series and their time range, Unix seconds [s]."""
    ids = {(one.site_id, one.quantity): one.series_id for one in enrolled.series}
    series = {
        ids[one.site, one.quantity]
        for device in devices
        for one in device.recording.series()
        if one.site in device.sites
    }
    first_s = min(one.recording.first_s() for one in devices) + plan.shift_s
    last_s = max(one.recording.last_s() for one in devices) + plan.shift_s
    return sorted(series), first_s, last_s


def _print_and_enrol(store: PostgresStore, enrolled: Directory, site_file_directory: Directory) -> Directory:
    """Print the additions and changes, then enrol them."""
    for sentence in enrolment_changes.summarise_changes(
        enrolment_changes.enrolment_differences(enrolled, site_file_directory)
    ):
        print(f"enrolment {sentence}", file=sys.stderr, flush=True)
    return store.enrol(site_file_directory)


def _print_plan(recordings: Sequence[Recording], plan: PlayPlan) -> None:
    """Print the accounting of each file before anything is published."""
    for device, account in recorded_devices.file_reports(recordings):
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
def _lock_spool_folder(folder: Path) -> Iterator[None]:
    """Lock a spool folder: two processes with one device would take over each other's MQTT session."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "replay.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(
                f"--spool {folder}: another replay uses this folder: wait for its end, or name another folder"
            ) from error
        yield


def _load_site_files(files: Sequence[Path] | None, enrolled: Directory) -> Directory | None:
    try:
        return site_files.load_site_files(files, enrolled) if files else None
    except site_files.SiteFileError as error:
        raise SettingsError(str(error)) from error
