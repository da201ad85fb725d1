"""Describes what a push would change in Grafana, and whether a person changed it before."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Verdict = Literal["new", "same", "ours", "foreign"]
"""Not there; as it should be; as an older push left it; changed by a person since."""


@dataclass(frozen=True, kw_only=True)
class GrafanaChange:
    """One thing: how it is, how it should be, and how to make it so."""

    what: str
    verdict: Verdict
    before: Any
    after: Any
    write: Callable[[], None]
    why: str = ""


def canonical_json(value: Any) -> str:
    """A value in an order of its own, to compare and to show."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False)


def digest(value: Any) -> str:
    """Sixteen hex digits that change with the value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def without_additions(existing: Any, desired: Any) -> Any:
    """What is given, without what Grafana added to it: the keys that are wanted, in depth."""
    if isinstance(existing, dict) and isinstance(desired, dict):
        return {
            key: without_additions(value, desired[key]) for key, value in existing.items() if key in desired
        }
    if isinstance(existing, list) and isinstance(desired, list) and len(existing) == len(desired):
        return [without_additions(one, other) for one, other in zip(existing, desired, strict=True)]
    return existing
