"""Declares the role and scope that each route requires, and finds the route of a request before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar, get_args

from starlette.routing import Match, Route, compile_path

from gateway.auth.principal import Role
from gateway.errors import GatewayError

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Sequence

    from starlette.routing import BaseRoute

    from gateway.auth.principal import Principal

Endpoint = TypeVar("Endpoint", bound="Callable[..., object]")

VIEWER, TEAM_MEMBER, OPERATOR, SUPERVISOR, ENGINEER, ADMINISTRATOR = Role

Scope = Literal[
    "anomalies",
    "assessments",
    "audit",
    "console",
    "devices",
    "directory",
    "duty",
    "enrolment",
    "federation",
    "feedback",
    "incidents",
    "judging",
    "keys",
    "letters",
    "live",
    "platform",
    "readings",
    "scenarios",
    "sensorthings",
    "twin",
]
ALL_SCOPES: Sequence[Scope] = get_args(Scope)


class RequiredRight(NamedTuple):
    """What a principal needs for a route, and how its requests are treated.

    Attributes
    ----------
    role : the lowest role that may use the route; None for routes open to anybody
    scope : the scope that a key restricted to scopes must have; None for none
    requires_all_areas : principals restricted to areas are refused
    audits_export : the response is an export, and gets an audit entry
    changes_nothing : requests are reads whatever their method, and get no audit entry as changes
    heavy : requests may take long, and wait in the queue of heavy ones
    unqueued : requests wait in no queue: streams, which are idle most of the time
    by_session : a session cookie is enough for a change, as for the forms of the console
    body_bytes : size of a request's body at most, below that of the settings; None for that
    """

    role: Role | None
    scope: Scope | None = None
    requires_all_areas: bool = False
    audits_export: bool = False
    changes_nothing: bool = False
    heavy: bool = False
    unqueued: bool = False
    by_session: bool = False
    body_bytes: int | None = None


PUBLIC = RequiredRight(None)
CONSOLE = RequiredRight(VIEWER, "console")
CONSOLE_LIVE = RequiredRight(VIEWER, "console", unqueued=True)
DIRECTORY = RequiredRight(VIEWER, "directory")
READINGS = RequiredRight(VIEWER, "readings")
ANOMALIES = RequiredRight(VIEWER, "anomalies")
INCIDENTS = RequiredRight(VIEWER, "incidents")
INCIDENT_WORK = RequiredRight(TEAM_MEMBER, "incidents")
TWIN = RequiredRight(VIEWER, "twin")
TWIN_MODEL = RequiredRight(VIEWER, "twin", heavy=True)
SCENARIOS = RequiredRight(VIEWER, "scenarios")
SCENARIO_RUN = RequiredRight(OPERATOR, "scenarios", heavy=True, body_bytes=65_536)
DEAD_LETTERS = RequiredRight(VIEWER, "letters")
SENSORTHINGS = RequiredRight(VIEWER, "sensorthings", changes_nothing=True, heavy=True)
KEY_ADMINISTRATION = RequiredRight(ADMINISTRATOR, "keys")
LIVE = RequiredRight(VIEWER, "live", unqueued=True)
ENROLMENT = RequiredRight(OPERATOR, "enrolment")
# Messages of a device, as over MQTT: no changes by a person. The route demands the scope by name.
FORWARDING = RequiredRight(VIEWER, "federation", changes_nothing=True, unqueued=True)
DEVICE_ENROLMENT = RequiredRight(None, body_bytes=65_536)  # by the code or token in the body


class UndeclaredRightError(GatewayError):
    """A route was added without the right it requires."""


def requires(right: RequiredRight) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator that declares the right that an endpoint requires.

    It stands below the decorator of the router, and leaves the endpoint as it is:

        @router.get("/areas")
        @requires(DIRECTORY)
        def areas(context: CurrentContext) -> list[AreaResponse]: ...
    """

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.required_right = right  # type: ignore[attr-defined]
        return endpoint

    return declare


class MatchedRoute(NamedTuple):
    """The route of a request: its path template, the right it requires, whether its changes are audited."""

    path: str
    right: RequiredRight
    is_audited: bool


class DeclaredRight(NamedTuple):
    """A method and a path template with the right that they require."""

    method: str
    path: str
    right: RequiredRight


LIBRARY_RIGHTS = (DeclaredRight("GET", "/openapi.json", PUBLIC),)  # FastAPI adds it


class RouteRights:
    """The rights of an application's routes.

    Parameters
    ----------
    routes : in the order in which Starlette tries them; each endpoint has its right by `requires`
    libraries : rights of the routes that libraries add (OpenAPI document), tried after ``routes``

    Raises
    ------
    UndeclaredRightError
        If the endpoint of a route declares no right, and ``libraries`` has none for its path.
    """

    def __init__(
        self, routes: Sequence[BaseRoute], libraries: Sequence[DeclaredRight] = LIBRARY_RIGHTS
    ) -> None:
        self._routes: list[tuple[Route, RequiredRight]] = []
        by_path = {declared.path: declared.right for declared in libraries}
        for route in routes:
            if isinstance(route, Route):
                right = getattr(route.endpoint, "required_right", None) or by_path.get(route.path)
                if right is None:
                    raise UndeclaredRightError(
                        f"{route.path}: declare the right of {route.endpoint.__qualname__} by @requires(…)"
                    )
                self._routes.append((route, right))
        served = {route.path for route, _ in self._routes}
        unserved = [declared for declared in libraries if declared.path not in served]
        self._libraries: list[tuple[re.Pattern[str], DeclaredRight]] = [
            (compile_path(declared.path)[0], declared) for declared in unserved
        ]

    def __iter__(self) -> Iterator[DeclaredRight]:
        """Every method and path template, HEAD left out where there is GET."""
        for route, right in self._routes:
            for method in sorted(route.methods or ()):
                if method != "HEAD":
                    yield DeclaredRight(method, route.path, right)
        for _, declared in self._libraries:
            yield declared

    def match(self, method: str, path: str) -> MatchedRoute | None:
        """Return the route that Starlette will choose for a request, HEAD as GET; None if there is none."""
        method = "GET" if method == "HEAD" else method
        scope = {"type": "http", "method": method, "path": path}
        for route, right in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                return _matched(DeclaredRight(method, route.path, right))
        for pattern, declared in self._libraries:
            if declared.method == method and pattern.match(path):
                return _matched(declared)
        return None

    def allowed_methods(self, path: str) -> list[str]:
        """Return the methods that a path takes, for the header ``Allow``; empty if there is no such path."""
        scope = {"type": "http", "method": "", "path": path}
        methods = {declared.method for pattern, declared in self._libraries if pattern.match(path)}
        for route, _ in self._routes:
            if route.matches(scope)[0] is not Match.NONE:
                methods |= set(route.methods or ()) - {"HEAD"}
        return sorted(methods)


def has_right(principal: Principal, right: RequiredRight) -> bool:
    """Whether a principal has a right, so that a page may show what needs it."""
    return (
        (right.role is None or principal.role >= right.role)
        and (not right.scope or not principal.scopes or right.scope in principal.scopes)
        and (not right.requires_all_areas or principal.areas is None)
    )


def _matched(declared: DeclaredRight) -> MatchedRoute:
    right = declared.right
    is_change = declared.method != "GET" and not right.changes_nothing
    return MatchedRoute(declared.path, right, is_change and right.role is not None)
