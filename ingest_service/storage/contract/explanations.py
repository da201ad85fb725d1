"""Applies explanations to anomalies: what an event of the site, or rain, covers is no alarm of its own.

The explanation is in ``evidence["explained_by"]``, beside the severity that was judged; its sentences end the
reasons. An explained anomaly that is recorded again stays explained (`Store.record_anomalies`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from ingest_service.storage.contract.models import Anomaly

KEY = "explained_by"


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What explains an anomaly.

    Attributes
    ----------
    cause : detector of the anomaly that explains it, or ``rain``
    anomaly_id : of that anomaly; None for rain
    site_id : where that anomaly is
    severity : largest severity that the explained anomaly keeps
    en, zh : sentences that end its reasons, with their separator

    """

    cause: str
    anomaly_id: int | None = None
    site_id: str | None = None
    severity: int
    en: str
    zh: str


def is_explained(one: Anomaly) -> bool:
    """Return whether an anomaly is explained by another one, or by rain."""
    return KEY in one.evidence


def explanation_of(one: Anomaly) -> Explanation | None:
    """Return the explanation of an anomaly; None without one."""
    stored = one.evidence.get(KEY)
    return None if stored is None else msgspec.convert(stored, Explanation)


def as_judged(one: Anomaly) -> Anomaly:
    """Return an anomaly as it was judged, without its explanation."""
    explanation = explanation_of(one)
    if explanation is None:
        return one
    return msgspec.structs.replace(
        one,
        severity=one.evidence[KEY].get("judged_severity", one.severity),
        reason_en=one.reason_en.removesuffix(explanation.en),
        reason_zh=one.reason_zh.removesuffix(explanation.zh),
        evidence={name: value for name, value in one.evidence.items() if name != KEY},
    )


def explained(one: Anomaly, explanation: Explanation | None) -> Anomaly:
    """Return an anomaly with an explanation in place of the one that it had; None removes that."""
    judged = as_judged(one)
    if explanation is None:
        return judged
    entry: dict[str, Any] = msgspec.to_builtins(explanation)
    return msgspec.structs.replace(
        judged,
        severity=min(judged.severity, explanation.severity),
        reason_en=judged.reason_en + explanation.en,
        reason_zh=judged.reason_zh + explanation.zh,
        evidence=judged.evidence | {KEY: entry | {"judged_severity": judged.severity}},
    )
