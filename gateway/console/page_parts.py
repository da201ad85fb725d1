"""Renders the parts of pages that are pushed when they change, such as health and what is wrong now."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from markupsafe import Markup

from gateway.console.health_checks import ordered_advice, platform_checks
from gateway.console.incident_rows import incident_row, sorted_for_work
from gateway.console.map_features import network_states
from gateway.console.translations import Language, translate
from gateway.console.visitor import render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.console.platform_state import PlatformState
    from gateway.console.visitor import Visitor
    from ingest_service.storage.contract.incidents import Incident
    from ingest_service.storage.contract.models import Anomaly

PartName = Literal["figures", "health", "now", "map-states", "incident-revisions"]
PART_NAMES: tuple[PartName, ...] = get_args(PartName)

MAX_WALL_ROWS = 40  # of what is wrong now; the others are counted, and are on a page of their own
CLOCK_NAMED_BEYOND_S = 60.0  # a smaller clock offset is shown without its device: no action is needed
HASH_CHARS = 12
STATE_MARKS = {  # shapes as well as colours, for colour-blind readers
    "alive": "●",
    "behind": "▲",
    "restarting": "↻",
    "stuck": "■",
    "absent": "✕",
    "unknown": "○",
}
SEVERITY_MARKS = {1: "○", 2: "△", 3: "◆"}


class PagePart(NamedTuple):
    """A part of a page: its element's content, and a hash by which a change is found."""

    name: PartName
    content: str
    digest: str

    @property
    def element(self) -> Markup:
        """The part's element, as pages have it."""
        tag, attributes = ELEMENTS[self.name]
        head = f'<{tag} id="{self.name}" data-live="{self.digest}"{attributes}>'
        return Markup(f"{head}{self.content}</{tag}>")  # noqa: S704 - a template has escaped the content

    @property
    def event(self) -> str:
        """The part as a server-sent event."""
        data = json.dumps({"id": self.name, "html": self.element}, ensure_ascii=False)
        return f"event: part\ndata: {data}\n\n"


ELEMENTS: Mapping[PartName, tuple[str, str]] = {
    "figures": ("dl", ' class="figures"'),
    "health": ("div", ' class="panel health" aria-live="polite"'),
    "now": ("div", ' class="now-list" aria-live="polite" aria-relevant="additions"'),
    "map-states": ("script", ' type="application/json"'),
    "incident-revisions": ("script", ' type="application/json"'),
}


class PageParts(dict[PartName, PagePart]):
    """The parts of a state by name, each rendered when it is first used.

    Their content does not depend on the time, so that it changes rarely.
    """

    def __init__(self, visitor: Visitor, state: PlatformState) -> None:
        super().__init__()
        self._visitor = visitor
        self._state = state

    def __missing__(self, name: PartName) -> PagePart:
        """Render a part."""
        content = RENDERERS[name](self._visitor, self._state)
        digest = hashlib.sha256(content.encode()).hexdigest()[:HASH_CHARS]
        self[name] = PagePart(name, content, digest)
        return self[name]


def _indicators(visitor: Visitor, state: PlatformState) -> str:
    return render(
        visitor,
        "parts/figures.html",
        state=state,
        is_stale=state.is_stale or state.database != "writable",
        clock=worst_clock_text(state.clocks, visitor.language),
    )


def _health(visitor: Visitor, state: PlatformState) -> str:
    checks = platform_checks(state, now_s=time.time())
    return render(
        visitor,
        "parts/health.html",
        is_kept=state.readiness.ok and state.database == "writable",
        is_away=state.is_database_away,
        checks=[(one.state, STATE_MARKS[one.state], visitor.name(one.text)) for one in checks],
        advice=[visitor.name(one) for one in ordered_advice(checks, state.readiness.problems)],
    )


def _now(visitor: Visitor, state: PlatformState) -> str:
    incidents = sorted_for_work(list(state.incidents))[:MAX_WALL_ROWS]
    anomalies = state.ungrouped_anomalies[: MAX_WALL_ROWS - len(incidents)]
    return render(
        visitor,
        "parts/now.html",
        incidents=[incident_row(one, visitor, state.directory_index) for one in incidents],
        rows=[anomaly_row(one, visitor, state) for one in anomalies],
        has_incidents=state.has_incidents,
        unlisted=len(state.incidents) + len(state.ungrouped_anomalies) - len(incidents) - len(anomalies),
        is_known=state.database == "writable",
    )


def _map_states(visitor: Visitor, state: PlatformState) -> str:
    incidents = [
        {"id": one.incident_id, "site": one.main_site_id, **_label(one, visitor, state)}
        for one in sorted_for_work(list(state.incidents))[:MAX_WALL_ROWS]
        if one.main_site_id in state.directory_index.sites
    ]
    content = json.dumps(network_states(state) | {"incidents": incidents}, separators=(",", ":"))
    return content.replace("<", "\\u003c")  # a name could end the script element


def _label(one: Incident, visitor: Visitor, state: PlatformState) -> dict[str, Any]:
    row = incident_row(one, visitor, state.directory_index)
    return {name: row[name] for name in ("title", "mark", "priority")}


def _incident_revisions(_visitor: Visitor, state: PlatformState) -> str:
    return json.dumps({str(one.incident_id): one.revision for one in state.incidents})


RENDERERS: Mapping[PartName, Callable[[Visitor, PlatformState], str]] = {
    "figures": _indicators,
    "health": _health,
    "now": _now,
    "map-states": _map_states,
    "incident-revisions": _incident_revisions,
}


def anomaly_row(one: Anomaly, visitor: Visitor, state: PlatformState) -> dict[str, Any]:
    """Return what a list shows of an anomaly."""
    site = state.directory_index.sites[one.site_id]
    return {
        "id": one.anomaly_id,
        "severity": one.severity,
        "mark": SEVERITY_MARKS[one.severity],
        "start_s": one.start_s,
        "site_id": one.site_id,
        "site": visitor.site_name(site, one.site_id),
        "reason": one.reason_zh if visitor.language == "zh" else one.reason_en,
        "verdict": state.verdicts.get(one.anomaly_id),
    }


def worst_clock_text(clocks: dict[str, float], language: Language) -> str:
    """Return the largest clock offset, with its device from `CLOCK_NAMED_BEYOND_S` on.

    >>> worst_clock_text({"d1": -0.4}, "en"), worst_clock_text({"d1": 4000.0}, "zh")
    ('0 s', '+4,000秒 d1')
    """
    if not clocks:
        return translate("never", language)
    device, offset_s = max(clocks.items(), key=lambda one: abs(one[1]))
    return clock_text(offset_s, language) + (f" {device}" if abs(offset_s) >= CLOCK_NAMED_BEYOND_S else "")


def clock_text(offset_s: float, language: Language) -> str:
    """Return a clock offset in whole seconds, with its sign.

    >>> clock_text(-9.6, "zh"), clock_text(-0.4, "en")
    ('-10秒', '0 s')
    """
    rounded_s = round(offset_s)  # an integer, so that it is never "-0"
    return translate("unit_seconds", language).format(f"{rounded_s:+,}" if rounded_s else "0")
