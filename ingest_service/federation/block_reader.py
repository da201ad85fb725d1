"""Reads what the county lacks in blocks: messages, and what is noted once the county has confirmed them."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from edge.wire import federation
from ingest_service.federation.block import Block, entry_of
from ingest_service.federation.definitions import definitions
from ingest_service.federation.estimate_messages import EstimateMessages
from ingest_service.federation.forecast_messages import ForecastMessages
from ingest_service.federation.incident_messages import IncidentMessages
from ingest_service.federation.reading_blocks import ReadingBlocks
from ingest_service.federation.state_messages import StateMessages
from ingest_service.storage.contract.area_tree import areas_below
from ingest_service.storage.contract.models import Directory
from ingest_service.storage.postgres.federation_commands import FederationCommands
from ingest_service.storage.postgres.federation_feed import MAX_RANGES
from ingest_service.storage.postgres.incidents import Incidents

if TYPE_CHECKING:
    from ingest_service.federation.policy import Policy
    from ingest_service.federation.settings import Settings
    from ingest_service.storage.contract.federation import FeedPosition
    from ingest_service.storage.contract.models import Anomaly, Series
    from ingest_service.storage.contract.store import Database
    from ingest_service.storage.postgres.federation_feed import FederationFeed

ANOMALIES_PER_BLOCK: Final = 500
ANOMALIES_PER_MESSAGE: Final = 50
INCIDENTS_PER_BLOCK: Final = 100
RESULTS_PER_BLOCK: Final = 100
FORWARDED_SUBJECTS: Final = frozenset({"series", "site", "device", "area"})
"""Kinds of subjects that the county gets: anomalies of the town's platform itself stay there."""


class BlockReader:
    """Reads one block after another: definitions, results of commands, anomalies, readings.

    Parameters
    ----------
    forwarder : start of this process, Unix time [us]

    """

    def __init__(
        self, store: Database, feed: FederationFeed, policy: Policy, settings: Settings, forwarder: int
    ) -> None:
        self._store, self._feed, self._policy, self._settings = store, feed, policy, settings
        self._forwarder = forwarder
        self._block = 0
        self._directory_version = -1
        self._directory = Directory()
        self._series: dict[int, Series] = {}
        self._of_rollups: dict[int, Series] = {}
        self._sites: set[str] = set()
        self._merged = 0
        self._anomalies_until = 0
        self._incident_feed = IncidentMessages(Incidents(store))
        self._commands = FederationCommands(store)
        self._states = StateMessages(store, policy)
        self._estimates = EstimateMessages(store, policy)
        self._forecasts = ForecastMessages(store, policy)
        self._readings = ReadingBlocks(feed, settings)

    def next_block(self) -> Block | None:
        """Return the next block; None if there is nothing to forward now. Raises as the store does."""
        self._block += 1
        if self._feed.waiting()[0] > self._merged + MAX_RANGES:
            self._feed.merge()
            self._merged = self._feed.waiting()[0]  # those that can't be merged or sent yet
        position = self._feed.position()
        return (
            self._definitions(position)
            or self._results(position)
            or self._anomalies(position)
            or self._incidents(position)
            or self._devices(position)
            or self._assessments(position)
            or self._estimated_state(position)
            or self._series_forecasts(position)
            or self._rollups(position)
            or self._readings.next_block(position, self._header())
        )

    def _definitions(self, position: FeedPosition) -> Block | None:
        """Return what all else refers to, if it is new to the county or was changed here."""
        if self._store.directory_version() == self._directory_version:
            return None
        directory = self._store.directory()
        self._directory_version = directory.version
        self._directory = directory
        self._series = {one.series_id: one for one in self._policy.series(directory)}
        forms = self._policy.forms(directory)
        self._of_rollups = {name: one for name, one in self._series.items() if forms[name] == "rollups"}
        self._readings.series = {name: one for name, one in self._series.items() if forms[name] == "all"}
        self._readings.without = self._of_rollups.keys()
        self._sites = {one.site_id for one in self._policy.sites(directory)}
        platforms = self._feed.platforms(areas_below(directory.areas, self._policy.area))
        message = definitions(directory, self._policy, platforms=platforms, **self._header())
        rows = {"definitions": len(message.sites) + len(message.series)}
        return Block([entry_of(message)], position, rows=rows)

    def _results(self, position: FeedPosition) -> Block | None:
        found = self._commands.results(RESULTS_PER_BLOCK)
        if not found:
            return None
        message = federation.CommandResults(results=found, **self._header())
        ids = [one.command_id for one in found]
        return Block([entry_of(message)], position, results=ids, rows={"command_results": len(found)})

    def _anomalies(self, position: FeedPosition) -> Block | None:
        if not self._policy.anomalies:
            return None
        settled = self._store.newest_revision()
        changed = self._store.anomalies_changed(
            position.anomaly_revision, limit=ANOMALIES_PER_BLOCK, settled=settled
        )
        if not changed:
            self._anomalies_until = settled
            return None
        position = position._replace(anomaly_revision=changed[-1].revision)
        forwarded = [one for one in map(self._forwarded_anomaly, changed) if one is not None]
        entries = [
            entry_of(
                federation.ForwardedAnomalies(
                    anomalies=forwarded[first : first + ANOMALIES_PER_MESSAGE], **self._header()
                ),
                1,
            )
            for first in range(0, len(forwarded), ANOMALIES_PER_MESSAGE)
        ]
        return Block(entries, position, rows={"anomalies": len(forwarded)})

    def _forwarded_anomaly(self, one: Anomaly) -> federation.ForwardedAnomaly | None:
        """Return an anomaly as it is forwarded; None if the policy does not permit it."""
        series = None if one.series_id is None else self._series.get(one.series_id)
        kind = one.subject.partition("/")[0]
        if (
            one.site_id not in self._sites
            or kind not in FORWARDED_SUBJECTS
            or (one.series_id is not None and series is None)
        ):
            return None
        fields = {
            name: getattr(one, name)
            for name in federation.ForwardedAnomaly.__struct_fields__
            if not name.endswith("_us") and name not in {"subject", "quantity"}
        }
        return federation.ForwardedAnomaly(
            **fields,
            subject="series" if kind == "series" else one.subject,
            quantity=None if series is None else series.quantity,
            start_us=round(one.start_s * 1e6),
            end_us=None if one.end_s is None else round(one.end_s * 1e6),
            peak_us=round(one.peak_s * 1e6),
        )

    def _incidents(self, position: FeedPosition) -> Block | None:
        if not (self._policy.anomalies and self._policy.incidents):
            return None
        # Never beyond the anomalies: the county has to have those of an incident before it.
        settled = min(self._store.newest_revision(), self._anomalies_until)
        after = position.incident_revision
        changed = self._incident_feed.changed(after, settled, limit=INCIDENTS_PER_BLOCK, sites=self._sites)
        if changed is None:
            return None
        entries = [
            entry_of(federation.ForwardedIncidents(incidents=part, **self._header()))
            for part in changed.messages
        ]
        position = position._replace(incident_revision=changed.revision)
        return Block(
            entries,
            position,
            rows={"incidents": sum(map(len, changed.messages))},
            on_confirmed=partial(self._incident_feed.confirmed, changed.newest_entries),
        )

    def _devices(self, position: FeedPosition) -> Block | None:
        messages = self._states.devices(self._directory)
        if not messages:
            return None
        devices = [one for message in messages for one in message]
        return Block(
            [entry_of(federation.ForwardedDevices(devices=one, **self._header())) for one in messages],
            position,
            rows={"devices": len(devices)},
            on_confirmed=partial(self._states.devices_confirmed, devices),
        )

    def _assessments(self, position: FeedPosition) -> Block | None:
        found = self._states.next_month(self._directory)
        if found is None:
            return None
        month, state, assessments = found
        message = federation.ForwardedAssessments(month=month, assessments=assessments, **self._header())
        return Block(
            [entry_of(message)],
            position,
            rows={"assessments": len(assessments)},
            on_confirmed=partial(self._states.month_confirmed, month, state),
        )

    def _estimated_state(self, position: FeedPosition) -> Block | None:
        found = self._estimates.next_quantity(self._directory)
        if found is None:
            return None
        entries = [
            entry_of(federation.ForwardedEstimates(quantity=found.quantity, **one, **self._header()))
            for one in found.messages
        ]
        return Block(
            entries,
            position,
            rows={"estimates": found.rows},
            on_confirmed=partial(self._estimates.confirmed, found),
            on_misread=self._estimates.give_up,
        )

    def _series_forecasts(self, position: FeedPosition) -> Block | None:
        found = self._forecasts.next_block(self._directory)
        if found is None:
            return None
        return Block(
            [
                entry_of(federation.ForwardedForecasts(forecasts=one, **self._header()))
                for one in found.messages
            ],
            position,
            rows={"forecasts": sum(map(len, found.messages))},
            on_confirmed=partial(self._forecasts.confirmed, found),
            on_misread=self._forecasts.give_up,
        )

    def _rollups(self, position: FeedPosition) -> Block | None:
        """Return rollups of quarters of an hour that are over, of series whose readings are not forwarded."""
        found = self._states.rollups(self._of_rollups, self._settings.block_readings)
        if found is None:
            return None
        entries = [
            entry_of(federation.ForwardedRollups(series=one, **self._header())) for one in found.messages
        ]
        return Block(entries, position, found.done, found.shortened, rows={"rollups": found.rows})

    def waiting(self) -> tuple[int, float]:
        """Return the number of ranges that wait, and the age of the oldest that could be sent [s]."""
        return self._feed.waiting(self._of_rollups)

    def _header(self) -> dict[str, Any]:
        return {
            "version": federation.FORMAT_VERSION,
            "forwarder": self._forwarder,
            "block": self._block,
            "release": version("towntwin"),
        }
