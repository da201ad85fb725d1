"""Describes one change that a push makes in Grafana, and whether it would overwrite a manual change."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Verdict = Literal["new", "same", "ours", "foreign"]
"""Absent; up to date; unchanged since an older push; changed by hand since."""


@dataclass(frozen=True, kw_only=True)
class GrafanaChange:
    """A change to one Grafana object: its state before and after, a verdict, and a function to apply it."""

    object_name: str
    verdict: Verdict
    before: Any
    after: Any
    write: Callable[[], None]
    why: str = ""


def canonical_json(value: Any) -> str:
    """Return a value as indented JSON with sorted keys, to compare and to display."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False)


def digest(value: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def without_additions(existing: Any, desired: Any) -> Any:
    """Return ``existing`` without the keys that Grafana added (those not in ``desired``), recursively."""
    if isinstance(existing, dict) and isinstance(desired, dict):
        return {
            key: without_additions(value, desired[key]) for key, value in existing.items() if key in desired
        }
    if isinstance(existing, list) and isinstance(desired, list) and len(existing) == len(desired):
        return [without_additions(one, other) for one, other in zip(existing, desired, strict=True)]
    return existing
