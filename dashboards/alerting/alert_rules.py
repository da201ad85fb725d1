"""Defines the Grafana alert rules: alarms, silent sites, ingest lag, failing processes, dead letters.

Against flapping, a rule fires only after ``for`` and keeps firing for a while after recovery
(``keep_firing_for``, Grafana 12; older versions ignore it), and the recovery threshold of lag is far below
the firing one. Every query returns a row for each site even when nothing is wrong, so that an alert ends by
its value and not by a missing row.

The states for no data and for errors:

- alarms, silence, processes, dead letters: no row means that nothing is enrolled yet, which is no fault:
  ``OK``. When the query fails, the last state is kept (``KeepLast``): an alarm must not end because the
  database is unavailable, and one database failure must not raise four alerts.
- lag: no row means that no reading was ever received, and a failed query means that it is unknown whether
  readings are received. Both are what this rule reports: ``Alerting``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dashboards.postgres_query import DATASOURCE_TYPE, DATASOURCE_UID, QUERIES
from dashboards.translations import TRANSLATIONS

FOLDER = "towntwin"
GROUP = "towntwin"
EVALUATION_INTERVAL_S = 60
ALERT_LABEL = "towntwin"
"""Label of every alert defined here; the notification policy matches it."""
EXPRESSION = "__expr__"
FIRST_PANEL = "2"
"""Id of the first panel below the first row; Grafana requires a panel id along with a dashboard uid."""


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """An alert rule: it fires above ``fires_above`` and recovers below ``recovers_below``."""

    name: str
    severity: Literal["critical", "warning"]
    fires_above: float
    recovers_below: float
    pending: str
    keep_firing: str
    no_data: Literal["OK", "Alerting"]
    on_error: Literal["KeepLast", "Alerting"]
    board: str
    label_level: str


ALERTS = (
    AlertRule(
        name="severe", severity="critical", fires_above=0, recovers_below=1, pending="1m", keep_firing="5m",
        no_data="OK", on_error="KeepLast", board="town-overview", label_level="site",
    ),
    AlertRule(
        name="silent", severity="warning", fires_above=0, recovers_below=1, pending="5m", keep_firing="10m",
        no_data="OK", on_error="KeepLast", board="devices", label_level="site",
    ),
    AlertRule(
        name="lag", severity="critical", fires_above=900, recovers_below=300, pending="5m", keep_firing="5m",
        no_data="Alerting", on_error="Alerting", board="platform", label_level="town",
    ),
    AlertRule(
        name="processes", severity="critical", fires_above=0, recovers_below=1, pending="1m",
        keep_firing="2m", no_data="OK", on_error="KeepLast", board="platform", label_level="process",
    ),
    AlertRule(
        name="letters", severity="warning", fires_above=0, recovers_below=1, pending="1m", keep_firing="15m",
        no_data="OK", on_error="KeepLast", board="platform", label_level="",
    ),
)  # fmt: skip


def build_alert_rules() -> list[dict[str, Any]]:
    """Return every rule in the format of Grafana's provisioning API."""
    return [_rule(one) for one in ALERTS]


def _rule(alert: AlertRule) -> dict[str, Any]:
    en, zh = TRANSLATIONS[f"alert_{alert.name}"]
    return {
        "uid": f"towntwin-{alert.name}",
        "orgID": 1,
        "folderUID": FOLDER,
        "ruleGroup": GROUP,
        "title": f"{en} · {zh}",
        "condition": "B",
        "data": [_query(alert), _threshold(alert)],
        "noDataState": alert.no_data,
        "execErrState": alert.on_error,
        "for": alert.pending,
        "keep_firing_for": alert.keep_firing,
        "isPaused": False,
        "labels": {ALERT_LABEL: "true", "severity": alert.severity},
        "annotations": _annotations(alert),
    }


def _query(alert: AlertRule) -> dict[str, Any]:
    return {
        "refId": "A",
        "queryType": "",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": DATASOURCE_UID,
        "model": {
            "refId": "A",
            "datasource": {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID},
            "editorMode": "code",
            "format": "table",
            "rawQuery": True,
            "rawSql": QUERIES[f"alert_{alert.name}"],
            "intervalMs": 1000,
            "maxDataPoints": 43_200,
        },
    }


def _threshold(alert: AlertRule) -> dict[str, Any]:
    condition = {
        "evaluator": {"type": "gt", "params": [alert.fires_above]},
        "unloadEvaluator": {"type": "lt", "params": [alert.recovers_below]},
    }
    return {
        "refId": "B",
        "queryType": "",
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": EXPRESSION,
        "model": {
            "refId": "B",
            "datasource": {"type": EXPRESSION, "uid": EXPRESSION},
            "type": "threshold",
            "expression": "A",
            "conditions": [condition],
            "intervalMs": 1000,
            "maxDataPoints": 43_200,
        },
    }


def _annotations(alert: AlertRule) -> dict[str, str]:
    """Return the message in both languages, since the person on duty may not be the one who set it up."""
    label_names = {"site": ("town", "site"), "town": ("town",), "process": ("process",), "": ()}[
        alert.label_level
    ]
    label_level = {
        language: " ".join(
            f"{{{{ $labels.{one} }}}}" if one == "process" else f"{{{{ $labels.{one}_{language} }}}}"
            for one in label_names
        )
        for language in ("en", "zh")
    }
    en, zh = TRANSLATIONS[f"alert_{alert.name}_about"]
    return {
        "summary": f"{label_level['en']}: {en}" if label_names else en,
        "summary_zh": f"{label_level['zh']}：{zh}" if label_names else zh,
        "__dashboardUid__": f"towntwin-{alert.board}-zh",
        "__panelId__": FIRST_PANEL,
    }
