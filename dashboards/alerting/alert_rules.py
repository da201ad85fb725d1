"""The alert rules: alarms, silent sites, ingest that lags, processes that do not work, dead letters.

No flapping: a rule fires only after ``for``, keeps firing for a while after it is well (Grafana 12; older
ones ignore it), and lag has a recovery threshold far below the one that fires. Every site has a row in each
answer, also when it is well, so that an alert ends by its value and not by a row that went missing.

No data and errors, each on purpose:

- alarms, silence, processes, letters: no row means that nothing is enrolled yet, and nothing enrolled is
  nothing wrong: ``OK``. When the query fails, what was known stays (``KeepLast``): an alarm must not end
  because the database is away, and four rules must not all cry about one database.
- lag: no row means that no reading ever came, and a query that fails means that nobody can tell whether
  readings come: both are what this rule is there to say: ``Alerting``.
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
"""Every alert of ours carries it; the notification policy goes by it."""
EXPRESSION = "__expr__"
FIRST_PANEL = "2"
"""The first panel below the first row; Grafana wants a panel where a dashboard is named."""


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """A rule before Grafana's form: it fires above ``above``, and is well again below ``well_below``."""

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
    """Every rule as Grafana's provisioning API takes it."""
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
    """Both languages in one message: who is on duty need not be who set it up."""
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
