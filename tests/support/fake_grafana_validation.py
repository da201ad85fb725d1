"""Validates requests as a strict Grafana does: missing fields, uids, durations, states, versions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException

if TYPE_CHECKING:
    from tests.support.fake_grafana import FakeGrafana

UID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
DURATION = re.compile(r"(\d+(ms|[smhdw]))+")
NO_DATA = {"Alerting", "NoData", "OK", "KeepLast"}
ON_ERROR = {"Alerting", "Error", "OK", "KeepLast"}
CONTACTS = {"webhook": {"url"}, "dingding": {"url"}, "email": {"addresses"}}
RULE = {
    "title", "ruleGroup", "folderUID", "orgID", "condition", "data", "noDataState", "execErrState", "for",
}  # fmt: skip


def http_error(code: int, message: str, **more: str) -> HTTPException:
    return HTTPException(code, {"message": message, **more})


def check_contact(body: dict[str, Any]) -> None:
    require_fields(body, {"name", "type", "settings", "uid"})
    check_uid(body["uid"])
    if body["type"] not in CONTACTS:
        raise http_error(400, f"unknown type {body['type']!r}")
    require_fields(body["settings"], CONTACTS[body["type"]])


def check_rule(grafana: FakeGrafana, body: dict[str, Any]) -> None:
    require_fields(body, RULE)
    check_uid(body["uid"])
    refs = [one.get("refId") for one in body["data"]]
    unknown = {"KeepLast"} if grafana.behaves_as < (10, 4, 1) else set()
    problems = {
        "folder does not exist": body["folderUID"] not in grafana.folders,
        "invalid condition": body["condition"] not in refs or len(set(refs)) != len(refs),
        "unknown NoData state option": body["noDataState"] not in NO_DATA - unknown,
        "unknown execution error state option": body["execErrState"] not in ON_ERROR - unknown,
        "not a duration": not all(
            DURATION.fullmatch(body.get(key, "1m")) for key in ("for", "keep_firing_for")
        ),
        "a dashboard needs a panel": len({"__dashboardUid__", "__panelId__"} & set(body["annotations"])) == 1,
        "labels and annotations are words": not all(
            isinstance(one, str) for key in ("labels", "annotations") for one in body[key].values()
        ),
    }
    for one in body["data"]:
        span = one.get("relativeTimeRange", {})
        problems["a query needs a time"] = not isinstance(span.get("from"), int) or span["from"] < span["to"]
        data_sources = {*grafana.sources, "__expr__"}
        problems["data source not found"] = one.get("datasourceUid") not in data_sources
        problems["a query needs a model"] = one.get("model", {}).get("refId") != one["refId"]
        if wrong := [text for text, is_so in problems.items() if is_so]:
            raise http_error(400, "invalid alert rule: " + "; ".join(wrong))


def check_type(version: tuple[int, int, int], kind: str) -> None:
    """Refuse a type of data source that a version does not have; newer ones know the older name."""
    if kind not in {"postgres"} | ({"grafana-postgresql-datasource"} if version >= (10, 2, 3) else set()):
        raise http_error(400, f"plugin {kind} is not registered")


def check_uid(uid: Any) -> None:
    if not isinstance(uid, str) or not UID.fullmatch(uid):
        raise http_error(400, "uid contains illegal characters or is longer than 40")


def require_fields(body: dict[str, Any], names: set[str]) -> None:
    if missing := {one for one in names if body.get(one) in (None, "")}:
        raise http_error(400, f"missing {sorted(missing)}")


def require_existing(stored: dict[str, dict[str, Any]], uid: str, message: str) -> dict[str, Any]:
    if uid not in stored:
        raise http_error(404, message)
    return stored[uid]


def check_version(board: dict[str, Any], older: dict[str, Any] | None) -> None:
    """Apply optimistic locking: a write must be based on the newest version."""
    if older is None:
        if board.get("id") is not None:
            raise http_error(404, "Dashboard not found")
        return
    if board.get("id") is None:
        raise http_error(412, "A dashboard with the same uid already exists", status="name-exists")
    if board.get("version") != older["dashboard"]["version"]:
        raise http_error(412, "The dashboard has been changed by someone else", status="version-mismatch")
