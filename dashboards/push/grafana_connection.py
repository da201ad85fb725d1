"""Connects to Grafana's HTTP API and converts its errors to `PushError` with a cause and a remedy."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException, GrafanaTimeoutError

from dashboards.errors import DashboardsError
from dashboards.grafana_versions import GrafanaVersion, parse_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dashboards.settings import Settings

TIMEOUT_S = 30.0
MISSING_RULE_MESSAGE = "could not find alert rule"
"""Grafana 9.4 responds with this and status 500, newer versions with 404."""
AWAY_STATUS = frozenset({502, 503, 504})
ERROR_SENTENCES = {
    401: "refuses the token: give --token of a service account",
    403: "does not allow this: the service account needs the role Admin",
    409: "has something else under this name: rename or delete that",
    412: "says that somebody changed it in the meantime: push again",
}


class PushError(DashboardsError, RuntimeError):
    """Grafana could not be brought up to date; the message names the cause and the remedy."""


@contextmanager
def grafana_connection(settings: Settings, timeout_s: float = TIMEOUT_S) -> Iterator[GrafanaApi]:
    """Yield a client for the settings' Grafana; it connects with the first request. Raises `PushError`."""
    if settings.token is None:
        raise PushError("TOWNTWIN_GRAFANA_TOKEN is not set: give --token of a Grafana service account")
    address = urlsplit(settings.url)
    grafana = GrafanaApi(
        settings.token,
        protocol=address.scheme,
        host=address.hostname,
        port=address.port,
        url_path_prefix=f"{path}/" if (path := address.path.strip("/")) else "",
        timeout=timeout_s,
    )
    try:
        yield grafana
    finally:
        grafana.client.s.close()


def read_version(grafana: GrafanaApi) -> GrafanaVersion | None:
    """Return Grafana's version; None where it does not report one (``hide_version``) or in an unknown form.

    Raises
    ------
    PushError
        If there is no Grafana at the address, or it does not answer.

    """
    with convert_grafana_errors("version (/api/health)"):
        health = grafana.client.GET("/health")
    if not isinstance(health, dict) or "database" not in health:
        raise PushError("version (/api/health): this is no Grafana: check --url")
    return parse_version(str(health.get("version", "")))


def get_or_none(call: Callable[[], Any], object_name: str) -> Any:
    """Return the result of a call, or None if Grafana has no such object."""
    try:
        with convert_grafana_errors(object_name):
            return call()
    except GrafanaNotFoundError:
        return None


class GrafanaAwayError(PushError):
    """Grafana does not answer, or a proxy before it does instead; a later try may succeed."""


class GrafanaNotFoundError(PushError):
    """Grafana has no such object (HTTP status 404)."""


@contextmanager
def convert_grafana_errors(object_name: str) -> Iterator[None]:
    """Convert errors of the API to `PushError` with a sentence that begins with the object's name."""
    try:
        yield
    except GrafanaClientError as error:
        if error.status_code == 404:
            raise GrafanaNotFoundError(f"{object_name}: Grafana knows no such thing") from error
        if error.status_code in ERROR_SENTENCES:
            raise PushError(f"{object_name}: Grafana {ERROR_SENTENCES[error.status_code]}") from error
        raise PushError(f"{object_name}: Grafana finds fault with it: {error.response}") from error
    except GrafanaException as error:
        if MISSING_RULE_MESSAGE in str(error.message):
            raise GrafanaNotFoundError(f"{object_name}: Grafana has no such rule") from error
        is_away = error.status_code in AWAY_STATUS or isinstance(error, GrafanaTimeoutError)
        kind = GrafanaAwayError if is_away else PushError
        raise kind(f"{object_name}: Grafana failed: {error.message}") from error
    except OSError as error:  # of the connection; grafana-client does not wrap it
        raise GrafanaAwayError(f"{object_name}: Grafana does not answer ({error}): check --url") from error
