"""State of the service's periodic tasks between rounds, owned by the process that runs them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from analytics.service import site_scoring
from analytics.service.block_judging import JudgeChoice
from analytics.service.item_backoff import MAX_DELAY_S, ItemBackoff
from analytics.service.message_state import MessageState

if TYPE_CHECKING:
    from datetime import datetime

    from analytics.duty.policy import DutyPolicy
    from analytics.incidents.site_relations import SiteRelations
    from analytics.service.forecast_refusals import ForecastRefusal
    from analytics.service.series_forecast import TrainedModel
    from ingest_service.storage.contract.models import Directory, Series
    from ingest_service.storage.contract.store import Store


@dataclass(slots=True)
class SiteJudgingState:
    """State of the site judging between two rounds; it can be recomputed.

    Attributes
    ----------
    models : fitted site models
    until : tick up to which each area was judged
    newest_ticks : tick up to which each area had sent everything in the last round
    judged_s : when each area was last judged, by the monotonic clock [s]
    next_s : when the next round is due, by the monotonic clock [s]

    """

    models: site_scoring.ModelCache = field(default_factory=site_scoring.ModelCache)
    until: dict[str, int] = field(default_factory=dict)
    newest_ticks: dict[str, int] = field(default_factory=dict)
    judged_s: dict[str, float] = field(default_factory=dict)
    next_s: float = 0.0


@dataclass(slots=True)
class CrossBorderTaskState:
    """State of the grouping of towns' incidents between two rounds; it can be recomputed.

    Attributes
    ----------
    relations : of all sites, as of ``directory_version``
    grouped : newest revision of the incidents that were grouped last
    next_s : when the next round may begin, by the monotonic clock [s]

    """

    relations: SiteRelations | None = None
    directory_version: int = -1
    grouped: int = 0
    next_s: float = -math.inf


@dataclass(slots=True)
class IncidentTaskState:
    """State of the maintenance of incidents between two rounds; it can be recomputed.

    Attributes
    ----------
    relations : of the sites, as of ``directory_version``
    settled : revision up to which all areas were grouped
    next_s : when time alone is applied next, by the monotonic clock [s]

    """

    relations: SiteRelations | None = None
    directory_version: int = -1
    settled: int = -1
    next_s: float = -math.inf


@dataclass(slots=True)
class WatchState:
    """State of the watch of the platform itself between two rounds; a restart begins it anew.

    Attributes
    ----------
    due_s : when the platform is looked at next, by the monotonic clock [s]
    rolled_up_s : when no rollup was outdated last, or the service started, by the monotonic clock [s]
    phases : of each condition by its subject, with the Unix time since when it has been so [s]

    """

    due_s: float = -math.inf
    rolled_up_s: float = field(default_factory=time.monotonic)
    phases: dict[str, tuple[str, float]] = field(default_factory=dict)

    def since(self, subject: str, phase: str, now_s: float) -> float:
        """Note the phase of a condition; return since when it has been in that phase, Unix time [s]."""
        if self.phases.get(subject, ("", 0.0))[0] != phase:
            self.phases[subject] = (phase, now_s)
        return self.phases[subject][1]

    def rollup_lag_s(self, monotonic_s: float) -> float:
        """Return for how long some rollups have been outdated [s]."""
        return monotonic_s - self.rolled_up_s


class ForecastOfSeries(NamedTuple):
    """The model of a series or why it has none, and when it was trained, by the monotonic clock [s]."""

    trained: TrainedModel | ForecastRefusal
    trained_s: float


@dataclass(slots=True)
class ForecastTaskState:
    """State of the forecasts for the dashboards between two rounds; it can be computed anew.

    Attributes
    ----------
    models : what is kept of each series
    pending : series whose forecast is still to be stored in this turn, the first one last
    due_s : when forecasts are stored next, by the monotonic clock [s]
    training_due_s : when the next model may be trained, by the monotonic clock [s]

    """

    models: dict[int, ForecastOfSeries] = field(default_factory=dict)
    pending: list[Series] = field(default_factory=list)
    due_s: float = -math.inf
    training_due_s: float = -math.inf


@dataclass(slots=True)
class ServiceState:
    """State of all tasks. It is lost when the process ends, and nothing that is stored depends on it.

    Attributes
    ----------
    site_judging : of the judging of sites
    diagnosed_days : the last local day diagnosed in each area
    pending_months : months that are still to be assessed in this check
    incidents : of the maintenance of incidents
    traces_due_s : when incidents are traced next, by the monotonic clock [s]
    traces_checked : anomalies of each traced incident, and when they were last looked at [s]
    verdicts_due_s : when sensors are verified next, by the monotonic clock [s]
    verdicts_checked : when each anomaly without a final verdict was last looked at [s]
    states_due_s : when states of the networks are stored next, by the monotonic clock [s]
    pending_states : quantities whose state is still to be stored in this turn
    forecasts : of the forecasts for the dashboards
    tidy_due_s : when data are deleted and compressed next, by the monotonic clock [s]
    ingest_works_since_s : since when every round found ingest working, Unix time [s]; None while not
    ingest_fails_since_s : the same of rounds that found it not working
    duty_policy : deadlines and escalation, read once
    notifications : messages under way
    watch : of the platform itself
    judge_choice : where series are judged again

    """

    ingest_works_since_s: float | None = None
    ingest_fails_since_s: float | None = None
    site_judging: SiteJudgingState = field(default_factory=SiteJudgingState)
    diagnosed_days: dict[str, datetime] = field(default_factory=dict)
    pending_months: list[str] = field(default_factory=list)
    traces_due_s: float = -math.inf
    traces_checked: dict[int, tuple[list[int], float]] = field(default_factory=dict)
    verdicts_due_s: float = -math.inf
    verdicts_checked: dict[int, float] = field(default_factory=dict)
    states_due_s: float = -math.inf
    pending_states: list[str] = field(default_factory=list)
    forecasts: ForecastTaskState = field(default_factory=ForecastTaskState)
    tidy_due_s: float = -math.inf
    duty_policy: DutyPolicy | None = None
    notifications: MessageState = field(default_factory=MessageState)
    watch: WatchState = field(default_factory=WatchState)
    judge_choice: JudgeChoice = field(default_factory=JudgeChoice)
    _directory: Directory | None = None
    incidents: IncidentTaskState = field(default_factory=IncidentTaskState)
    cross_border: CrossBorderTaskState = field(default_factory=CrossBorderTaskState)
    _backoffs: dict[str, ItemBackoff] = field(default_factory=dict)

    def directory_of(self, store: Store) -> Directory:
        """Return the directory, read anew only after an enrolment."""
        if self._directory is None or self._directory.version != store.directory_version():
            self._directory = store.directory()
        return self._directory

    def backoff(self, task: str, *, longest_wait_s: float = MAX_DELAY_S) -> ItemBackoff:
        """Return the failed items of a task; ``task`` is its name in logs and metrics."""
        if task not in self._backoffs:
            self._backoffs[task] = ItemBackoff(task, longest_wait_s=longest_wait_s)
        return self._backoffs[task]
