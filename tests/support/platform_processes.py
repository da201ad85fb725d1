"""Runs ingest, service and gateway as processes on one database and broker, and queries their health."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import psycopg

from deploy.embedded.server_environment import free_port
from gateway.auth import api_keys
from gateway.auth.principal import Role
from ingest_service.storage.postgres.api_keys import ApiKeyStore
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.processes import REPOSITORY, PlatformProcess, wait_until
from tests.support.store_samples import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

SHOWN_WITHIN_S = 10.0
WITHIN_S = 60.0


class PlatformProcesses:
    """Ingest, service and gateway processes on one database and one broker."""

    def __init__(self, dsn: str, broker: Any, folder: Path) -> None:
        self.dsn = dsn
        self.port = free_port()
        environ = {"TOWNTWIN_DSN": dsn, "TOWNTWIN_BROKER": broker.url}
        self.environ = environ
        self.ingest, self.service, self.gateway = (
            PlatformProcess(name, *flags, log=folder / f"{name}.log", **environ)
            for name, flags in {
                "ingest": (),
                "service": (),
                "gateway": ("--port", str(self.port)),
            }.items()
        )
        store = PostgresStore.open(dsn)
        store.enrol(DIRECTORY)
        _, self.key = api_keys.create_key(
            ApiKeyStore(store), name="tests", role=Role.VIEWER, created_by="tests"
        )
        store.close()

    def get(self, path: str) -> httpx.Response | None:
        try:
            return httpx.get(
                f"http://127.0.0.1:{self.port}{path}", headers={"X-API-Key": self.key}, timeout=20
            )
        except httpx.HTTPError:
            return None

    def not_ready_reason(self) -> str:
        """Return the detail of `/readyz`; empty if the platform is ready."""
        answer = self.get("/readyz")
        if answer is None:
            return "no answer"
        return "" if answer.status_code == 200 else str(answer.json()["detail"])

    def state(self, kind: str) -> tuple[str, bool]:
        """Return a process's state by `/v1/health`, and whether the overall status is ok."""
        answer = self.get("/v1/health")
        if answer is None or answer.status_code != 200:
            return "no answer", False
        found = answer.json()
        states = [one["state"] for one in found["processes"] if one["kind"] == kind]
        return states[0] if len(states) == 1 else str(states), found["status"] == "ok"

    def wait_for_state(
        self, state: str, *, ok: bool, kind: str = "ingest", within_s: float = SHOWN_WITHIN_S
    ) -> None:
        wait_until(lambda: self.state(kind) == (state, ok), within_s=within_s, what=f"{kind} {state}, {ok}")

    def wait_for_reason(self, words: str, *, within_s: float = SHOWN_WITHIN_S) -> None:
        wait_until(lambda: words in self.not_ready_reason(), within_s=within_s, what=words)

    def wait_until_ready(self) -> None:
        wait_until(lambda: not self.not_ready_reason(), within_s=WITHIN_S, what="it is ready")

    def doctor(self) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "deploy", "doctor"],
            cwd=REPOSITORY,
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def set_read_only(self, value: str) -> None:
        """Set the default of new sessions to read-only or not, and terminate existing sessions."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(
                f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = {value}"
            )
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'towntwin%'"
            )
