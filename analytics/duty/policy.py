"""Reads the policy of deadlines and escalation from TOML: by kind, priority and setting of an incident."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import msgspec

from analytics.duty.errors import DutyError
from analytics.duty.working_calendar import WorkingHours, add_working_days, add_working_hours

# msgspec reads the annotations
from ingest_service.storage.contract.duty import Setting  # noqa: TC001
from ingest_service.storage.contract.incidents import IncidentKind  # noqa: TC001
from ingest_service.storage.contract.notifications import DeadlinePhase  # noqa: TC001

if TYPE_CHECKING:
    from pathlib import Path

Trigger = Literal["opened", "unacknowledged", "dispatched", "late"]
Recipient = Literal["on_duty", "team", "leader", "supervisor"]


class DeadlineRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time that a phase may take, in exactly one of the four units; empty conditions hold for all."""

    phase: DeadlinePhase
    kinds: list[IncidentKind] = []
    priorities: list[int] = []
    setting: Setting | None = None
    minutes: float | None = None
    hours: float | None = None
    working_hours: float | None = None
    working_days: int | None = None

    def fits(self, *, kind: str, priority: int, setting: str) -> bool:
        """Whether the rule is about such incidents."""
        return (
            (not self.kinds or kind in self.kinds)
            and (not self.priorities or priority in self.priorities)
            and self.setting in {None, setting}
        )

    def due_s(self, start_s: float, hours: WorkingHours) -> float:
        """Return the deadline of a phase that starts at a time, Unix seconds [s]."""
        if self.working_days is not None:
            return add_working_days(start_s, self.working_days, hours)
        if self.working_hours is not None:
            return add_working_hours(start_s, self.working_hours, hours)
        return start_s + (self.minutes or 0) * 60 + (self.hours or 0) * 3600


class EscalationRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step: when it is due, and whom it notifies.

    ``minutes`` is the delay by priority [min]; a priority without one has no such step.
    """

    step: str
    when: Trigger
    to: list[Recipient]
    phase: DeadlinePhase | None = None
    priorities: list[int] = []
    minutes: dict[str, float] = {}

    def after_s(self, priority: int) -> float | None:
        """Return the delay of the step [s] for a priority; None if the priority has no such step."""
        if self.priorities and priority not in self.priorities:
            return None
        if not self.minutes:
            return 0.0
        minutes = self.minutes.get(str(priority))
        return None if minutes is None else minutes * 60


class DutyPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deadlines and escalation steps, in the order of the file, and the hours of a working day."""

    working_hours: tuple[str, str] = ("08:30", "17:30")
    deadline: list[DeadlineRule] = []
    escalation: list[EscalationRule] = []

    @property
    def hours(self) -> WorkingHours:
        """The hours of a working day."""
        return WorkingHours(*self.working_hours)

    def rule_for(
        self, phase: DeadlinePhase, *, kind: str, priority: int, setting: str
    ) -> DeadlineRule | None:
        """Return the first rule that fits; None if the phase has no deadline."""
        return next(
            (
                one
                for one in self.deadline
                if one.phase == phase and one.fits(kind=kind, priority=priority, setting=setting)
            ),
            None,
        )


def read_policy(path: Path | None = None) -> DutyPolicy:
    """Read a policy; towntwin's own without a path. Raises `DutyError`, with the rule that is wrong."""
    own = files("analytics.duty").joinpath("policy.toml")
    try:
        content = own.read_bytes() if path is None else path.read_bytes()
        policy = msgspec.toml.decode(content, type=DutyPolicy)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DutyError(f"{path or own}: {error}") from error
    _check(policy)
    return policy


def _check(policy: DutyPolicy) -> None:
    for number, rule in enumerate(policy.deadline, 1):
        given = [rule.minutes, rule.hours, rule.working_hours, rule.working_days]
        units = [one for one in given if one is not None]
        if len(units) != 1 or units[0] <= 0:
            raise DutyError(
                f"deadline {number} ({rule.phase}): give one of minutes, hours, working_hours, working_days"
            )
        try:
            rule.due_s(0.0, policy.hours)
        except ValueError as error:
            raise DutyError(f"deadline {number} ({rule.phase}): {error}") from error
    steps = [one.step for one in policy.escalation]
    if len(set(steps)) < len(steps):
        raise DutyError("escalation: every step has a name of its own, for it is recorded once an incident")
    for step in policy.escalation:
        if (step.when == "late") != (step.phase is not None):
            raise DutyError(f'escalation {step.step!r}: give a phase with when = "late", and only then')
