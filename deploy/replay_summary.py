"""Builds and formats the summary of a replay, which accounts for every row, cell and reading."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from edge.drivers.file_report import SKIP_REASONS, SkipReason
from edge.wire import quantities, senml
from edge.wire.errors import PayloadError
from edge.wire.quantities import QUANTITIES
from ingest_service.storage.contract.models import DeadLetterQuery

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from deploy.agent_fleet import FleetProgress
    from edge.drivers.file_report import FileReport
    from ingest_service.storage.contract.models import DeadLetter, Directory
    from ingest_service.storage.postgres.store import PostgresStore

PLATFORM_REASONS: dict[str, SkipReason] = {
    "dead-letter": SkipReason("readings that lie in the dead letters", "reading", lost=True),
    "evicted": SkipReason("readings that a full spool let go of", "reading", lost=True),
    "no-receipt": SkipReason("readings without the platform's receipt", "reading", lost=True),
}
ALL_REASONS = {**SKIP_REASONS, **PLATFORM_REASONS}
EVERY_REASON = "all"
DEAD_LETTERS_PER_PAGE = 200
MAX_DETAILS = 5
BLOCK_ROWS = 100_000  # readings in memory at a time


class ReplayedFile(msgspec.Struct, frozen=True, kw_only=True):
    """Accounting of one file.

    ``rows`` = ``rows_taken`` + rows left out; ``cells`` = ``readings`` + cells left out.
    """

    file: str
    device: str
    rows: int
    rows_taken: int
    cells: int
    readings: int
    left_out: dict[str, int]
    notes: list[str]


class ReplaySummary(msgspec.Struct, frozen=True, kw_only=True):
    """Accounting of a replay; all counts but ``rows`` are readings.

    ``played`` = ``stored`` + ``repeated`` + ``dead_lettered`` + ``evicted`` + ``no_receipt``. ``repeated``
    readings were in the database before. ``lost`` counts, by reason, what was left out without being allowed.
    """

    files: list[ReplayedFile]
    rows: int
    readings: int
    left_out: dict[str, int]
    played: int
    stored: int
    repeated: int
    dead_lettered: int
    evicted: int
    no_receipt: int
    dead_letters: list[str]
    faults: tuple[str, ...]
    lost: dict[str, int]
    good: bool


def summarise_replay(
    accounts: Iterable[tuple[str, FileReport]],
    last: FleetProgress,
    *,
    added: int,
    dead: tuple[int, list[str]],
    allowed: Collection[str],
) -> ReplaySummary:
    """Return the summary of a replay.

    Parameters
    ----------
    accounts : device id and accounting of each file
    last : the fleet's last progress
    added : number of readings that were added to the database
    dead : number of readings in dead letters, and their distinct reasons
    allowed : reasons for which readings may be left out

    """
    files = [_summarise_file(device, account) for device, account in accounts]
    left_out: dict[str, int] = {}
    for file in files:
        for reason, count in file.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
    dead_lettered = min(dead[0], last.kept)
    stored = max(0, min(added, last.kept - dead_lettered))
    no_receipt = max(
        last.taken - last.kept - last.evicted, min(last.waiting, 1)
    )  # a spool may hold messages of an earlier run
    platform = {"dead-letter": dead_lettered, "evicted": last.evicted, "no-receipt": no_receipt}
    lost = {
        reason: count
        for reason, count in {**left_out, **platform}.items()
        if count and ALL_REASONS[reason].lost and not ({reason, EVERY_REASON} & set(allowed))
    }
    readings = sum(file.readings for file in files)
    left_out_readings = sum(
        count for reason, count in left_out.items() if SKIP_REASONS[reason].of == "reading"
    )
    unplayed = readings - left_out_readings - last.taken
    if unplayed > 0:  # the replay was stopped
        lost["no-receipt"] = lost.get("no-receipt", 0) + unplayed
    return ReplaySummary(
        files=files,
        rows=sum(file.rows for file in files),
        readings=readings,
        left_out=left_out,
        played=last.taken,
        stored=stored,
        repeated=max(0, last.kept - dead_lettered - stored),
        dead_lettered=dead_lettered,
        evicted=last.evicted,
        no_receipt=no_receipt + max(0, unplayed),
        dead_letters=dead[1],
        faults=last.faults,
        lost=lost,
        good=not lost and not last.faults,
    )


def summary_lines(summary: ReplaySummary) -> list[str]:
    """Return the summary as lines of text."""
    found = []
    for file in summary.files:
        found.append(
            f"{file.file}: {file.rows:,} rows, {file.rows_taken:,} taken; {file.cells:,} cells, "
            f"{file.readings:,} readings"
        )
        found += [
            f"  left out: {count:,} {SKIP_REASONS[reason].text} ({reason})"
            for reason, count in file.left_out.items()
        ]
        found += [f"  {note}" for note in file.notes]
    found.append(
        f"{summary.played:,} readings played: {summary.stored:,} stored, {summary.repeated:,} known before, "
        f"{summary.dead_lettered:,} dead-lettered, {summary.no_receipt:,} without a receipt, "
        f"{summary.evicted:,} evicted"
    )
    found += [f"  dead letter: {one}" for one in summary.dead_letters]
    found += summary.faults
    return found + loss_sentences(summary)


def loss_sentences(summary: ReplaySummary) -> list[str]:
    """Return a sentence on the losses and how to accept them; empty where nothing was lost."""
    if not summary.lost:
        return []
    parts = ", ".join(f"{count:,} {ALL_REASONS[one].text} ({one})" for one, count in summary.lost.items())
    return [
        f"not everything was stored: {parts}; mend it, or accept it with --allow {','.join(summary.lost)}"
    ]


def newest_dead_letter_id(store: PostgresStore) -> int:
    """Return the id of the newest dead letter, or 0."""
    return max(
        (one.letter_id for one in store.dead_letters(DeadLetterQuery(limit=1, whole=False))), default=0
    )


def count_dead_readings(
    store: PostgresStore,
    directory: Directory,
    devices: Sequence[str],
    epochs: Collection[str],
    *,
    after_id: int,
) -> tuple[int, list[str]]:
    """Count readings of given spools that are only in dead letters newer than ``after_id``.

    Returns the count and the distinct reasons of those dead letters. A dead letter holds a complete message;
    readings of it that are stored are not counted.
    """
    series = {
        (channel.device_id, channel.name): (channel.series_id, channel.quantity)
        for channel in directory.channels
    }
    dead, dead_letter_reasons = 0, dict[str, None]()
    for device in devices:
        before: int | None = None
        while True:
            page = store.dead_letters(
                DeadLetterQuery(device=device, before_id=before, limit=DEAD_LETTERS_PER_PAGE, whole=True)
            )
            for dead_letter in page:
                if dead_letter.letter_id > after_id and dead_letter.properties.get("epoch") in epochs:
                    dead += _count_unstored(store, dead_letter, device, series)
                    dead_letter_reasons.setdefault(f"{dead_letter.reason}: {dead_letter.detail}"[:500])
            if len(page) < DEAD_LETTERS_PER_PAGE or page[-1].letter_id <= after_id:
                break
            before = page[-1].letter_id
    return dead, list(dead_letter_reasons)[:MAX_DETAILS]


def _count_unstored(
    store: PostgresStore, dead_letter: DeadLetter, device: str, series: dict[tuple[str, str], tuple[int, str]]
) -> int:
    """Return the number of readings of one dead letter that are not in the database."""
    try:
        records = senml.decode(
            dead_letter.payload, content_type=dead_letter.content_type, now_s=dead_letter.received_s
        )
    except PayloadError:
        return 0
    by_series: dict[tuple[int, str], list[tuple[float, float]]] = {}
    unknown = 0
    for record in records:
        channel_series = series.get((device, record.name))
        if channel_series is None or record.value is None:
            unknown += 1
        else:
            by_series.setdefault(channel_series, []).append((record.time_s, record.value))
    return unknown + sum(
        _count_absent(store, *channel_series, values) for channel_series, values in by_series.items()
    )


def _count_absent(
    store: PostgresStore, series_id: int, quantity: str, sent: list[tuple[float, float]]
) -> int:
    """Return how many of the sent readings (time [s], value in the wire unit) a series does not have."""
    times = [time_s for time_s, _ in sent]
    stored_by_time = _stored_values(store, series_id, min(times), max(times) + 1e-3)
    wire = quantities.to_canonical(QUANTITIES[quantity], None)
    return sum(
        not math.isclose(
            stored_by_time.get(round(time_s * 1e6), math.nan),
            value * wire.scale + wire.offset,
            rel_tol=1e-6,
            abs_tol=1e-9,
        )
        for time_s, value in sent
    )


def _stored_values(store: PostgresStore, series_id: int, from_s: float, to_s: float) -> dict[int, float]:
    """Return the values of a series in ``[from_s, to_s)`` by time [us], read block by block."""
    stored: dict[int, float] = {}
    while True:
        rows = store.readings(series_id, from_s, to_s, limit=BLOCK_ROWS)
        stored.update(zip(rows["time_us"].tolist(), rows["value"].tolist(), strict=True))
        if len(rows) < BLOCK_ROWS:
            return stored
        from_s = (int(rows["time_us"][-1]) + 1) / 1e6


def _summarise_file(device: str, account: FileReport) -> ReplayedFile:
    return ReplayedFile(
        file=str(account.path),
        device=device,
        rows=account.rows,
        rows_taken=account.rows_taken,
        cells=account.cells,
        readings=account.readings,
        left_out={reason: account.left_out[reason] for reason in SKIP_REASONS if account.left_out[reason]},
        notes=account.notes,
    )
