"""Formats the result of a ledger run: lines for a terminal, and the Markdown of docs/ledger.md."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ledger.faults import FAULT_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.ledger.command import LedgerRun
    from benchmarks.ledger.fault_kind import LedgerFault
    from benchmarks.ledger.fault_run import CausedFaults

FURTHER_TOWNS = """ Two more towns, each
with a broker, a database, ingest, service, forwarder and an agent of its own, forward to the same county, and
the county to a city; they have no standby, proxies or lines."""
CITY_ROW = """
| The city has the readings, anomalies and incidents of the three towns, by way of the county. | {:,} |"""
ONE_TOWN = """ One town and its county are part of a run; `--three-towns` adds two towns and a city."""
SUMMARY = """\
seed {seed}: {faults} faults of {kinds} kinds in {took_s:.0f} s, {restarts} processes restarted
{without_effect} more had no effect
{taken:,} readings taken, {stored:,} stored
{dead_letters_of_readings:,} in dead letters, {waiting:,} in spools
{lost:,} lost, {doubled:,} doubled, {altered:,} altered
{poison_found:,} of {poison:,} malformed payloads in the dead letters
{anomalies:,} anomalies ({anomalies_doubled:,} overlap another)
{incidents:,} incidents ({anomalies_without_incident:,} anomalies without one)
{rollups:,} rollups, {rollups_different:,} differ from the readings
{judged:,} readings judged again: {flags_different:,} flags and {states_different:,} states of series differ
{answered:,} uploads of the HJ 212 station answered, {answered_lost:,} of them lost
{county_readings:,} readings at the county, {county_days_different:,} days of a series differ
{county_anomalies_different:,} anomalies and {county_incidents_different:,} incidents differ there
{city_readings:,} readings at the city, {city_rows_different:,} days, anomalies and incidents differ there"""
TEMPLATE = Path(__file__).with_name("report_template.md")


def summary(done: LedgerRun) -> str:
    """Return the result of a run as lines of text."""
    lines = [SUMMARY.format(**_format_values(done))]
    lines += [f"without effect: {one}" for one in done.faults.without_effect]
    return "\n".join(lines + [f"BROKEN: {one}" for one in done.counts.faults])


def markdown(done: LedgerRun, command: str) -> str:
    """Return the report of a run as Markdown.

    Parameters
    ----------
    done : result of the run
    command : with which it is repeated

    """
    has_towns = done.options.has_other_towns
    date = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    return TEMPLATE.read_text().format(
        **_format_values(done),
        further_towns=FURTHER_TOWNS if has_towns else "",
        city_row=CITY_ROW.format(done.counts.city_rows_different) if has_towns else "",
        one_town="" if has_towns else ONE_TOWN,
        command=command,
        date=date,
        fault_rows=fault_rows(done.faults, FAULT_KINDS),
    )


def fault_rows(done: CausedFaults, kinds: Sequence[LedgerFault]) -> str:
    """Return rows of Markdown: each kind of fault, how often it was caused, and its longest time."""
    caused = Counter(one.name for one in done.caused)
    longest_s = {name: max(one.took_s for one in done.caused if one.name == name) for name in caused}
    return "\n".join(
        f"| {kind.name} | {kind.description} | {caused[kind.name]} | {longest_s[kind.name]:.1f} s |"
        for kind in kinds
        if kind.name in caused
    )


def _format_values(done: LedgerRun) -> dict[str, int | float]:
    counts = done.counts
    return {
        **counts._asdict(),
        "poison_lost": counts.poison - counts.poison_found,
        "seed": done.options.seed,
        "faults": len(done.faults.caused),
        "without_effect": len(done.faults.without_effect),
        "kinds": len({one.name for one in done.faults.caused}),
        "took_s": done.took_s,
        "restarts": done.restarts,
    }
