"""Computes the deadlines of an incident and the steps of its escalation that are due."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ingest_service.storage.contract.notifications import Deadline, DeadlinePhase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from analytics.duty.policy import DutyPolicy, EscalationRule
    from ingest_service.storage.contract.incidents import Incident

NOT_CALLING = frozenset({"shelved", "suppressed", "out_of_service"})
"""Alarm states in which nobody is called: shelved by hand, or suppressed by design."""
STATES_AFTER_VERIFICATION = frozenset({"verified", "closed", "false_alarm"})


class _PhaseTimes(NamedTuple):
    """When a phase begins and when it is over, Unix seconds [s]; None: not yet."""

    start_s: float | None
    met_s: float | None


def deadlines_of(
    incident: Incident,
    policy: DutyPolicy,
    *,
    setting: str,
    known: Iterable[Deadline] = (),
    now_s: float,
) -> list[Deadline]:
    """Return the deadlines of an incident that are new or changed.

    A phase that is over keeps the deadline that it had: neither a change of priority nor one of the policy
    makes it late afterwards. An approved extension (延期) moves the deadline of handling, a hold (挂账) all
    open ones.

    Parameters
    ----------
    incident : as it is now
    policy : rules by kind, priority and setting
    setting : ``town`` or ``village``, of the incident's grid cell
    known : its stored deadlines
    now_s : the platform's clock, Unix seconds [s]

    """
    stored = {one.phase: one for one in known}
    changed = []
    for phase, times in _phases(incident, now_s).items():
        before = stored.get(phase)
        rule = policy.rule_for(phase, kind=incident.kind, priority=incident.priority, setting=setting)
        if times.start_s is None or (before is not None and before.met_s is not None):
            continue
        if rule is None and before is None:
            continue
        due_s = before.due_s if before is not None else 0.0
        if rule is not None and (times.met_s is None or before is None):
            due_s = _moved(incident, phase, rule.due_s(times.start_s, policy.hours))
        found = Deadline(
            incident_id=incident.incident_id,
            area_id=incident.area_id,
            phase=phase,
            due_s=due_s,
            met_s=times.met_s,
        )
        if found != before:
            changed.append(found)
    return changed


def due_steps(
    incident: Incident,
    policy: DutyPolicy,
    deadlines: Mapping[DeadlinePhase, Deadline],
    *,
    now_s: float,
) -> list[EscalationRule]:
    """Return the escalation steps of an incident whose time has come, those recorded before included.

    Nobody is called for an incident that is over, shelved, suppressed by design or merged into another one.
    """
    if incident.is_over or incident.merged_into is not None or incident.alarm_state in NOT_CALLING:
        return []
    found = []
    for rule in policy.escalation:
        after_s, since_s = rule.after_s(incident.priority), _since_s(incident, rule, deadlines)
        if after_s is not None and since_s is not None and now_s >= since_s + after_s:
            found.append(rule)
    return found


def _since_s(
    incident: Incident, rule: EscalationRule, deadlines: Mapping[DeadlinePhase, Deadline]
) -> float | None:
    """Return since when the condition of a step holds [Unix s]; None while it does not."""
    match rule.when:
        case "opened":
            return incident.opened_s
        case "unacknowledged":
            return None if incident.acknowledged_s is not None else incident.opened_s
        case "dispatched":
            return incident.dispatched_s
        case "late":
            deadline = deadlines.get(rule.phase) if rule.phase is not None else None
            return None if deadline is None or deadline.met_s is not None else deadline.due_s


def _phases(incident: Incident, now_s: float) -> dict[DeadlinePhase, _PhaseTimes]:
    over_s = (incident.closed_s or now_s) if incident.is_over else None
    opened_s = incident.opened_s
    is_verified = incident.state in STATES_AFTER_VERIFICATION
    return {
        "acknowledge": _PhaseTimes(opened_s, _first(incident.acknowledged_s, over_s)),
        "file": _PhaseTimes(opened_s, _first(incident.filed_s, over_s)),
        "dispatch": _PhaseTimes(opened_s, _first(incident.dispatched_s, over_s)),
        "handle": _PhaseTimes(incident.dispatched_s, _first(incident.reported_s, over_s)),
        "verify": _PhaseTimes(incident.reported_s, _first(over_s, now_s if is_verified else None)),
    }


def _first(*times_s: float | None) -> float | None:
    return next((one for one in times_s if one is not None), None)


def _moved(incident: Incident, phase: DeadlinePhase, due_s: float) -> float:
    """Return a deadline after an approved extension or hold."""
    if phase == "handle" and incident.extended_until_s is not None:
        due_s = max(due_s, incident.extended_until_s)
    if incident.held_until_s is not None:
        due_s = max(due_s, incident.held_until_s)
    return due_s
