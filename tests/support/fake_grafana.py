"""Simulates a strict Grafana of a given version: its documented HTTP API, in memory, served on loopback.

Grafana cannot be run in the tests: no package registry has its server. So this is an exception to the rule
that nothing is mocked. It follows Grafana's documentation of the folder, data source, dashboard, dashboard
version and alerting provisioning APIs: required fields, uid patterns, status codes, optimistic locking. What
differs by version follows reports of real servers: a missing alert rule is status 500 in 9.4 (Grafana's issue
66249) and 404 in newer ones, ``KeepLast`` exists since 10.4.1 (pull request 84406), ``keep_firing_for`` since
12.0 (100750), and the type of the data source was renamed in 10.2.3 (issue 80180). A real server accepts a
data source of a type that it does not have, and every query of it fails; this one refuses it at once.
"""

from __future__ import annotations

import copy
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse

from deploy.embedded.server_environment import free_port
from tests.support.fake_grafana_validation import (
    check_contact,
    check_rule,
    check_type,
    check_uid,
    check_version,
    http_error,
    require_existing,
    require_fields,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "glsa_test"  # noqa: S105 - of a fake that exists for one test
SECRETS = {"dingding": {"url"}, "webhook": {"password", "authorization_credentials"}, "email": set()}


@dataclass
class FakeGrafana:
    """The stored state of a fake Grafana."""

    url: str = ""
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    boards: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, Any] = field(
        default_factory=lambda: {"receiver": "grafana-default-email", "group_by": ["alertname"]}
    )
    writes: list[str] = field(default_factory=list)
    as_page: bool = True
    """Whether versions are returned as a page, as since Grafana 11, or as a list, as before."""
    version: str = "12.3.3"
    """What it reports; empty where it is configured to hide its version."""
    behaves_as: tuple[int, int, int] = (12, 3, 3)
    fails_with: str = ""
    """Message with which a request for an alert rule fails; empty where it does not."""

    def state(self) -> dict[str, Any]:
        """Return a copy of all fields, for `reset`."""
        return {one.name: copy.deepcopy(getattr(self, one.name)) for one in fields(self)}

    def reset(self, state: dict[str, Any]) -> None:
        """Become a new Grafana at the same address, with some fields of a state."""
        for name, value in (FakeGrafana().state() | {"url": self.url} | copy.deepcopy(state)).items():
            setattr(self, name, value)

    def become(self, version: str) -> None:
        """Change the version, as an upgrade does; what is stored stays."""
        major, minor, patch = (int(part) for part in version.split("."))
        self.version, self.behaves_as = version, (major, minor, patch)
        self.as_page = self.behaves_as >= (11, 0, 0)

    def save_as_person(self, uid: str, message: str = "", **changes: Any) -> None:
        """Change a dashboard as a user does in the browser."""
        self.store_dashboard({**self.boards[uid]["dashboard"], **changes}, message, "ling", "towntwin")

    def store_dashboard(
        self, board: dict[str, Any], message: str, author: str, folder: str
    ) -> dict[str, Any]:
        """Store and return the next version of a dashboard."""
        uid = board["uid"]
        older = self.boards.get(uid)
        version = older["dashboard"]["version"] + 1 if older else 1
        number = older["dashboard"]["id"] if older else len(self.boards) + 1
        stored_dashboard = {**copy.deepcopy(board), "id": number, "version": version}
        self.boards[uid] = {"dashboard": stored_dashboard, "meta": {"folderUid": folder, "version": version}}
        self.versions.setdefault(uid, []).insert(
            0, {"version": version, "message": message, "createdBy": author, "uid": uid}
        )
        return stored_dashboard


def grafana_app(grafana: FakeGrafana) -> FastAPI:
    """Return the HTTP API of a fake Grafana."""

    def check_token(request: Request, authorization: Annotated[str | None, Header()] = None) -> None:
        if request.url.path != "/api/health" and authorization != f"Bearer {TOKEN}":
            raise http_error(401, "Invalid API key")

    app = FastAPI(dependencies=[Depends(check_token)])

    @app.exception_handler(HTTPException)
    def plain(_request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error.detail, error.status_code)

    @app.middleware("http")
    async def record_writes(request: Request, call: Any) -> Any:
        answer = await call(request)
        if request.method != "GET" and answer.status_code < 400:
            grafana.writes.append(f"{request.method} {request.url.path}")
        return answer

    @app.get("/api/health")
    def health() -> dict[str, str]:
        build = {"commit": "0000000000", "version": grafana.version} if grafana.version else {}
        return {"database": "ok", **build}

    folders(app, grafana)
    sources(app, grafana)
    boards(app, grafana)
    alert_rules(app, grafana)
    contact_points(app, grafana)
    policies(app, grafana)
    return app


def folders(app: FastAPI, grafana: FakeGrafana) -> None:
    @app.get("/api/folders/{uid}")
    def get(uid: str) -> dict[str, Any]:
        return require_existing(grafana.folders, uid, "folder not found")

    @app.post("/api/folders")
    def post(body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("title"):
            raise http_error(400, "folder title cannot be empty")
        check_uid(body["uid"])
        if body["uid"] in grafana.folders:
            raise http_error(409, "a folder with the same uid already exists")
        return grafana.folders.setdefault(body["uid"], {"id": 1, "version": 1, **body})


def sources(app: FastAPI, grafana: FakeGrafana) -> None:
    @app.get("/api/datasources/uid/{uid}")
    def get(uid: str) -> dict[str, Any]:
        return public_source(require_existing(grafana.sources, uid, "Data source not found"))

    @app.post("/api/datasources")
    def post(body: dict[str, Any]) -> dict[str, Any]:
        require_fields(body, {"name", "type", "access"})
        check_type(grafana.behaves_as, body["type"])
        check_uid(body["uid"])
        if any(body["name"] == one["name"] for one in grafana.sources.values()):
            raise http_error(409, "data source with the same name already exists")
        grafana.sources[body["uid"]] = {"id": 1, "orgId": 1, "version": 1, "readOnly": False, **body}
        return {"message": "Datasource added"}

    @app.put("/api/datasources/uid/{uid}")
    def put(uid: str, body: dict[str, Any]) -> dict[str, Any]:
        require_fields(body, {"name", "type", "access"})
        check_type(grafana.behaves_as, body["type"])
        older = require_existing(grafana.sources, uid, "Data source not found")
        if body.get("version", older["version"]) != older["version"]:
            raise http_error(
                409, "Datasource has already been updated by someone else. Please reload and try again"
            )
        grafana.sources[uid] = {**older, **body, "version": older["version"] + 1}
        return {"message": "Datasource updated"}


def public_source(source: dict[str, Any]) -> dict[str, Any]:
    secret = source.get("secureJsonData") or {}
    visible = {key: one for key, one in source.items() if key != "secureJsonData"}
    return {**visible, "secureJsonFields": dict.fromkeys(secret, True)}


def boards(app: FastAPI, grafana: FakeGrafana) -> None:
    @app.get("/api/dashboards/uid/{uid}")
    def get(uid: str) -> dict[str, Any]:
        return require_existing(grafana.boards, uid, "Dashboard not found")

    @app.get("/api/dashboards/uid/{uid}/versions")
    def versions(uid: str, limit: int = 0) -> Any:
        require_existing(grafana.boards, uid, "Dashboard not found")
        listed = grafana.versions[uid][: limit or None]
        return {"continueToken": "", "versions": listed} if grafana.as_page else listed

    @app.post("/api/dashboards/db")
    def post(body: dict[str, Any]) -> dict[str, Any]:
        board = body.get("dashboard")
        if not isinstance(board, dict) or not board.get("title"):
            raise http_error(400, "Dashboard title cannot be empty")
        check_uid(board["uid"])
        if body.get("folderUid") not in grafana.folders:
            raise http_error(400, "folder not found")
        older = grafana.boards.get(board["uid"])
        if not body.get("overwrite"):
            check_version(board, older)
        stored = grafana.store_dashboard(board, body.get("message", ""), "sa-towntwin", body["folderUid"])
        return {"status": "success", **{key: stored[key] for key in ("id", "uid", "version")}}


def alert_rules(app: FastAPI, grafana: FakeGrafana) -> None:
    base = "/api/v1/provisioning"

    @app.get(f"{base}/alert-rules/{{uid}}")
    def get_rule(uid: str) -> dict[str, Any]:
        if grafana.fails_with:
            raise http_error(500, grafana.fails_with)
        if uid not in grafana.rules and grafana.behaves_as < (9, 5, 0):
            raise http_error(500, "could not find alert rule", traceID="")
        return require_existing(grafana.rules, uid, "")

    @app.post(f"{base}/alert-rules", status_code=201)
    def post_rule(
        body: dict[str, Any], x_disable_provenance: Annotated[str, Header()] = ""
    ) -> dict[str, Any]:
        check_rule(grafana, body)
        if body["uid"] in grafana.rules:
            raise http_error(409, "rule UID already in use")
        return grafana.rules.setdefault(body["uid"], rule(grafana, body, x_disable_provenance))

    @app.put(f"{base}/alert-rules/{{uid}}")
    def put_rule(
        uid: str, body: dict[str, Any], x_disable_provenance: Annotated[str, Header()] = ""
    ) -> dict[str, Any]:
        require_existing(grafana.rules, uid, "")
        check_rule(grafana, body)
        grafana.rules[uid] = rule(grafana, body, x_disable_provenance)
        return grafana.rules[uid]


def contact_points(app: FastAPI, grafana: FakeGrafana) -> None:
    base = "/api/v1/provisioning"

    @app.get(f"{base}/contact-points")
    def get_contacts(name: str = "") -> list[dict[str, Any]]:
        return [redacted(one) for one in grafana.contacts.values() if name in ("", one["name"])]

    @app.post(f"{base}/contact-points", status_code=202)
    def post_contact(body: dict[str, Any]) -> dict[str, Any]:
        check_contact(body)
        if body["uid"] in grafana.contacts:
            raise http_error(409, "contact point uid already in use")
        return redacted(grafana.contacts.setdefault(body["uid"], {"provenance": "", **body}))

    @app.put(f"{base}/contact-points/{{uid}}", status_code=202)
    def put_contact(uid: str, body: dict[str, Any]) -> dict[str, Any]:
        require_existing(grafana.contacts, uid, "contact point not found")
        check_contact(body)
        grafana.contacts[uid] = {"provenance": "", **body}
        return {"message": "contactpoint updated"}


def policies(app: FastAPI, grafana: FakeGrafana) -> None:
    base = "/api/v1/provisioning"

    @app.get(f"{base}/policies")
    def get_policies() -> dict[str, Any]:
        return grafana.policies

    @app.put(f"{base}/policies", status_code=202)
    def put_policies(body: dict[str, Any]) -> dict[str, Any]:
        receivers = {"grafana-default-email", "pager", *(one["name"] for one in grafana.contacts.values())}
        for one in [body, *(body.get("routes") or [])]:
            if one.get("receiver") not in receivers:
                raise http_error(400, f"receiver {one.get('receiver')!r} does not exist")
        grafana.policies = body
        return {"message": "policies updated"}


def rule(grafana: FakeGrafana, body: dict[str, Any], disable_provenance: str) -> dict[str, Any]:
    unknown = {"keep_firing_for"} if grafana.behaves_as < (12, 0, 0) else set()
    return {
        **{key: one for key, one in body.items() if key not in unknown},
        "id": 7,
        "updated": "2026-01-01T00:00:00Z",
        "provenance": "" if disable_provenance else "api",
    }


def redacted(contact: dict[str, Any]) -> dict[str, Any]:
    secrets = SECRETS[contact["type"]]
    visible = {key: "[REDACTED]" if key in secrets else one for key, one in contact["settings"].items()}
    return {**contact, "settings": visible}


@contextmanager
def serve_fake_grafana() -> Iterator[FakeGrafana]:
    """Serve a fake Grafana while the context lasts."""
    grafana = FakeGrafana()
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(grafana_app(grafana), host="127.0.0.1", port=port, log_level="error")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        thread.join(0.01)
    grafana.url = f"http://127.0.0.1:{port}"
    yield grafana
    server.should_exit = True
    thread.join(30)
