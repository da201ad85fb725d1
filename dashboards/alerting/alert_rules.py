"""Defines the Grafana alert rules: alarms, silence, incidents, lag, processes, dead letters, errors.

Against flapping, a rule fires only after ``for`` and keeps firing for a while after recovery
(``keep_firing_for``, Grafana 12; older versions ignore it), and the recovery threshold of lag is far below
the firing one. Every query returns a row for each site even when nothing is wrong, so that an alert ends by
its value and not by a missing row.

The states for no data and for errors (decision 0043):

- no data: no row of alarms or silence means that no site is enrolled, which the rule of lag reports: ``OK``.
  For lag no row means that no reading was ever received; the other queries always return a row. No row is
  trouble there: ``Alerting``.
- errors: an alarm must not end because the database is unavailable, so the last state is kept (``KeepLast``),
  and the rule ``evaluation``, which runs the queries of all others, is ``Alerting``: one failure of the
  database is one alert. A Grafana without ``KeepLast`` gets ``Error``: each rule raises an alert of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dashboards.postgres_query import DATASOURCE_UID, QUERIES
from dashboards.settings import DEFAULT_CONSOLE_URL
from dashboards.translations import LANGUAGES, TRANSLATIONS

if TYPE_CHECKING:
    from dashboards.grafana_versions import GrafanaFeatures
    from dashboards.translations import Language

FOLDER = "towntwin"
GROUP = "towntwin"
EVALUATION_INTERVAL_S = 60
ALERT_LABEL = "towntwin"
"""Label of every alert defined here; the notification policy matches it."""
EXPRESSION = "__expr__"
FIRST_PANEL = "2"
"""Id of the first panel below the first row; Grafana requires a panel id along with a dashboard uid."""


TOWN = "var-town={{ $labels.area }}"
SITE = "var-site={{ $labels.site }}"
NOW = "from=now-6h&to=now"
SINCE = '{{ with $values.C }}from={{ printf "%.0f" .Value }}&{{ end }}to=now'
"""Time range of a link: from the begin that query C of the rule returns."""


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """An alert rule: it fires above ``fires_above`` and recovers below ``recovers_below``.

    Attributes
    ----------
    board : dashboard of the rule, which its link opens while the state is unknown
    labels : labels of a row that name it in the message, without the suffix of the language
    link : dashboard, variables and time range that the link of a row opens
    has_begin : whether query ``alert_NAME_since`` returns since when it fires, for the link
    opens_console : whether a message links to the incidents in the console as well

    """

    name: str
    severity: Literal["critical", "warning"]
    fires_above: float = 0
    recovers_below: float = 1
    pending: str
    keep_firing: str
    no_data: Literal["OK", "Alerting"]
    on_error: Literal["KeepLast", "Alerting"] = "KeepLast"
    board: str
    labels: tuple[str, ...] = ()
    link: tuple[str, str]
    has_begin: bool = False
    opens_console: bool = False


ALERTS = (
    AlertRule(
        name="severe", severity="critical", pending="1m", keep_firing="5m", no_data="OK",
        board="town-overview", labels=("town", "site"), has_begin=True,
        link=("{{ $labels.board }}", f"{TOWN}&{SITE}&{SINCE}"),
    ),
    AlertRule(
        name="silent", severity="warning", pending="5m", keep_firing="10m", no_data="OK",
        board="devices", labels=("town", "site"), has_begin=True,
        link=("devices", f"{TOWN}&{SINCE}"),
    ),
    AlertRule(
        name="incident", severity="critical", pending="5m", keep_firing="5m", no_data="OK",
        board="town-overview", labels=("town",), link=("town-overview", f"{TOWN}&{NOW}"), opens_console=True,
    ),
    AlertRule(
        name="lag", severity="critical", fires_above=900, recovers_below=300, pending="5m", keep_firing="5m",
        no_data="Alerting", board="platform", labels=("town",),
        link=("platform", f"{TOWN}&{NOW}"),
    ),
    AlertRule(
        name="processes", severity="critical", pending="1m", keep_firing="2m", no_data="Alerting",
        board="platform", labels=("process",), link=("platform", NOW),
    ),
    AlertRule(
        name="letters", severity="warning", pending="1m", keep_firing="15m", no_data="Alerting",
        board="platform", link=("platform", NOW),
    ),
    AlertRule(
        name="evaluation", severity="critical", pending="2m", keep_firing="2m", no_data="Alerting",
        on_error="Alerting", board="platform", link=("platform", NOW),
    ),
)  # fmt: skip
EVALUATED = tuple(one.name for one in ALERTS if one.on_error == "KeepLast")


def build_alert_rules(
    features: GrafanaFeatures, console_url: str = DEFAULT_CONSOLE_URL
) -> list[dict[str, Any]]:
    """Return every rule in the format of Grafana's provisioning API, as a version of Grafana accepts it.

    ``console_url`` is the address of the console, to which the rule of incidents links.
    """
    return [_rule(one, features, console_url.rstrip("/")) for one in ALERTS]


def _rule(alert: AlertRule, features: GrafanaFeatures, console_url: str) -> dict[str, Any]:
    begin = [_query(f"{alert.name}_since", "C", features)] if alert.has_begin else []
    cannot_keep = alert.on_error == "KeepLast" and not features.keeps_last_state
    return {
        "uid": f"towntwin-{alert.name}",
        "orgID": 1,
        "folderUID": FOLDER,
        "ruleGroup": GROUP,
        "title": " · ".join(TRANSLATIONS[f"alert_{alert.name}"]),
        "condition": "B",
        "data": [_query(alert.name, "A", features), _threshold(alert), *begin],
        "noDataState": alert.no_data,
        "execErrState": "Error" if cannot_keep else alert.on_error,
        "for": alert.pending,
        "keep_firing_for": alert.keep_firing,
        "isPaused": False,
        "labels": {ALERT_LABEL: "true", "severity": alert.severity},
        "annotations": _annotations(alert)
        | ({"console": f"{console_url}/console/incidents"} if alert.opens_console else {}),
    }


def _query(name: str, ref_id: str, features: GrafanaFeatures) -> dict[str, Any]:
    return {
        "refId": ref_id,
        "queryType": "",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": DATASOURCE_UID,
        "model": {
            "refId": ref_id,
            "datasource": {"type": features.data_source_type, "uid": DATASOURCE_UID},
            "editorMode": "code",
            "format": "table",
            "rawQuery": True,
            "rawSql": _sql(name),
            "intervalMs": 1000,
            "maxDataPoints": 43_200,
        },
    }


def _sql(name: str) -> str:
    """Return the SQL of a rule; ``_NAME`` in it stands for the SQL of the rule of that name."""
    text: str = QUERIES[f"alert_{name}"]
    for other in EVALUATED:
        text = text.replace(f"_{other.upper()}", QUERIES[f"alert_{other}"])
    return text


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
    """Return the message and the link in both languages: the person on duty may not be who set it up.

    Every row has the label ``area``. The alert of an error or of no data has no label of a row; its message
    is the one of an unknown state.
    """
    return {
        "summary": _summary(alert, "en"),
        "summary_zh": _summary(alert, "zh"),
        "link": _link(alert, "en"),
        "link_zh": _link(alert, "zh"),
        "__dashboardUid__": f"towntwin-{alert.board}-zh",
        "__panelId__": FIRST_PANEL,
    }


def _summary(alert: AlertRule, language: Language) -> str:
    at = LANGUAGES.index(language)
    text = TRANSLATIONS[f"alert_{alert.name}_about"][at]
    if alert.on_error == "Alerting":
        return text  # it is about errors, and the last text is shown again in the error state
    names = " ".join(
        f"{{{{ $labels.{one} }}}}" if one == "process" else f"{{{{ $labels.{one}_{language} }}}}"
        for one in alert.labels
    )
    colon = {"en": ": ", "zh": "："}[language]
    known = f"{names}{colon}{text}" if names else text
    unknown = f"{TRANSLATIONS[f'alert_{alert.name}'][at]}{colon}{TRANSLATIONS['alert_unknown_about'][at]}"
    return f"{{{{ if $labels.area }}}}{known}{{{{ else }}}}{unknown}{{{{ end }}}}"


def _link(alert: AlertRule, language: Language) -> str:
    """Return the address of the dashboard with the row's site or town and its time range.

    Grafana's own address may end with a slash or not.
    """
    board, query = alert.link
    base = '{{ reReplaceAll "/$" "" externalURL }}/d/towntwin-'
    known = f"{board}-{language}?{query}"
    return f"{base}{{{{ if $labels.area }}}}{known}{{{{ else }}}}{alert.board}-{language}?{NOW}{{{{ end }}}}"
