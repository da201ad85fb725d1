"""Provides the console's routes with the visitor (language, rights, state) and renders templates."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Protocol
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from edge.wire.quantities import QUANTITIES
from gateway.api.problems import ProblemError
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth import authorization
from gateway.auth.authorization import RequiredRight
from gateway.auth.principal import Role
from gateway.console.platform_state import PlatformState, PlatformStateCache
from gateway.console.static_files import static_address
from gateway.console.translations import Language, choose_language, translate
from gateway.transport.security_headers import CONSOLE_POLICY
from ingest_service.storage.contract.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.settings import Settings
    from ingest_service.storage.contract.models import Node

LANGUAGE_COOKIE = "towntwin_language"
MAP_WORDS = {  # MapLibre's own texts
    "Map.Title": "map",
    "Marker.Title": "site",
    "NavigationControl.ZoomIn": "zoom_in",
    "NavigationControl.ZoomOut": "zoom_out",
    "AttributionControl.ToggleAttribution": "attribution",
}
# The calendar's years are 1 to 9999 in UTC; no zone is a day away from that.
FIRST_S, LAST_S = -62_135_510_400.0, 253_402_214_399.0
PMTILES_PATH = "/console/map.pmtiles"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
NAVIGATION = (
    ("wall", "/", authorization.CONSOLE),
    ("incidents", "/console/incidents", authorization.INCIDENTS),
    ("tasks", "/console/tasks", authorization.INCIDENT_WORK),
    ("anomalies", "/console/anomalies", authorization.CONSOLE),
    ("sites", "/console/sites", authorization.CONSOLE),
    ("state_estimated", "/console/state", authorization.TWIN),
    ("scenarios", "/console/scenarios", authorization.SCENARIOS),
    ("placement", "/console/placement", authorization.TWIN),
    ("devices", "/console/devices", authorization.CONSOLE),
    ("dead_letters", "/console/dead-letters", authorization.DEAD_LETTERS),
    ("settings", "/console/settings", authorization.CONSOLE),
)
SETTINGS_NAVIGATION = (
    ("keys", "/console/settings", authorization.CONSOLE),
    ("preferences", "/console/settings/preferences", authorization.RequiredRight(Role.TEAM_MEMBER, "duty")),
    ("duty", "/console/settings/duty", authorization.RequiredRight(Role.OPERATOR, "duty")),
    ("shift", "/console/shift", authorization.RequiredRight(Role.OPERATOR, "duty")),
    ("cells", "/console/settings/cells", authorization.RequiredRight(Role.VIEWER, "duty")),
    ("channels", "/console/settings/channels", authorization.RequiredRight(Role.OPERATOR, "duty")),
    ("enrolment", "/console/enrolment", authorization.ENROLMENT),
    ("networks", "/console/settings/networks", authorization.TWIN),
    ("commands", "/console/settings/commands", authorization.RequiredRight(Role.OPERATOR, "platform")),
)


class Named(Protocol):
    """Anything with a name in both languages: areas, sites, nodes, quantities."""

    @property
    def en(self) -> str:
        """English name."""
        ...

    @property
    def zh(self) -> str:
        """Chinese name."""
        ...


@dataclass(frozen=True, slots=True)
class Visitor:
    """The visitor of one request: what he may do, his language, and the address that he requested."""

    context: RequestContext
    language: Language
    address: str

    def text(self, key: str, *values: object) -> str:
        """Return a text in the visitor's language, with values in place of its braces."""
        text = translate(key, self.language)
        return text.format(*values) if values else text

    def name(self, one: Named) -> str:
        """Return a name in the visitor's language."""
        return one.zh if self.language == "zh" else one.en

    def site_name(self, one: Named, site_id: str | None) -> str:
        """Return the name of a site, or of its node, with its town where several sites have that name.

        Else two links of one page, such as those of a list of sites, would have one text and two targets.
        """
        index = self.context.directories.cached_index(self.context.principal.areas)
        name, site = self.name(one), index.sites.get(site_id or "")
        if site is None or name not in index.repeated_names:
            return name
        return self.in_town(name, site.area_id)

    def in_town(self, name: str, area_id: str) -> str:
        """Return a name with its town in brackets; without, where the town may not be read."""
        area = self.context.directories.cached_index(self.context.principal.areas).areas.get(area_id)
        if area is None:
            return name
        town = self.name(area)
        return f"{name}（{town}）" if self.language == "zh" else f"{name} ({town})"

    def node_names(self, nodes: Collection[Node]) -> dict[str, str]:
        """Return the names of nodes by id, with the town where several nodes have that name."""
        counts = Counter(self.name(one) for one in nodes)
        return {
            one.node_id: self.in_town(name, one.area_id) if counts[name := self.name(one)] > 1 else name
            for one in nodes
        }

    def quantity(self, name: str) -> str:
        """Return a quantity with its unit."""
        quantity = QUANTITIES[name]
        unit = f" [{quantity.unit}]" if quantity.unit not in {"", "1", quantity.en} else ""
        return self.name(quantity) + unit

    def may(self, right: RequiredRight) -> bool:
        """Whether the visitor has a right."""
        return authorization.has_right(self.context.principal, right)

    @property
    def view_key(self) -> tuple[object, ...]:
        """What decides which state the visitor sees: areas, rights, and the team of a team member."""
        principal = self.context.principal
        team_id = principal.team_id if principal.role == Role.TEAM_MEMBER else None
        rights = (authorization.INCIDENTS, authorization.DEAD_LETTERS)
        return (
            principal.areas,
            principal.role == Role.TEAM_MEMBER,
            team_id,
            *(self.may(one) for one in rights),
        )

    def local_time(self, at_s: float) -> datetime:
        """Return a time in the time zone of the towns.

        At the ends of the calendar, where that zone has no such time, it is the nearest one that has.
        """
        return datetime.fromtimestamp(min(max(at_s, FIRST_S), LAST_S), self.context.unscoped_store.zone)

    def stamp(self, at_s: float | None) -> Markup:
        """Return a time as an element: day and minute in the towns' time zone, the whole time as title."""
        if at_s is None:
            return Markup("–")
        local = self.local_time(at_s)
        short = local.strftime("%m-%d %H:%M")
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            local.isoformat(), local.isoformat(sep=" ", timespec="seconds"), short
        )

    def age(self, at_s: float | None) -> Markup:
        """Return an element in which a script shows the time since ``at_s``; without a script, the time.

        Its text does not depend on the present, so that a pushed part changes only with what it shows.
        """
        if at_s is None:
            return escape(self.text("never"))
        local = self.local_time(at_s)
        return Markup('<time class="age" datetime="{}" data-at="{:.0f}">{}</time>').format(
            local.isoformat(timespec="seconds"), at_s, local.strftime("%m-%d %H:%M")
        )

    def duration(self, seconds: float) -> str:
        """Return a duration in its largest unit.

        The same as ``duration`` in ``console.js``.
        """
        seconds = max(0, int(seconds))
        for key, unit_s in (("days", DAY_S), ("hours", HOUR_S), ("minutes", MINUTE_S)):
            if seconds >= 2 * unit_s or (key == "minutes" and seconds >= MINUTE_S):
                return self.text(f"unit_{key}", seconds // unit_s)
        return self.text("unit_seconds", seconds)


def new_environment() -> Environment:
    """Return the environment of the templates: every value is escaped, every unknown name is an error."""
    environment = Environment(
        loader=PackageLoader("gateway.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["static"] = static_address
    return environment


TEMPLATES = new_environment()


def render(visitor: Visitor, template: str, **values: Any) -> str:
    """Return a template in the visitor's language."""
    names = {
        "visitor": visitor,
        "t": visitor.text,
        "name": visitor.name,
        "site_name": visitor.site_name,
        "quantity": visitor.quantity,
        "stamp": visitor.stamp,
        "age": visitor.age,
        "now_s": time.time(),
        "navigation": navigation(visitor),
        "settings_navigation": settings_navigation(visitor),
        "tiles": visitor.context.settings.map_tiles or "",
        "pmtiles": PMTILES_PATH if visitor.context.settings.map_pmtiles else "",
        "map_words": {name: visitor.text(key) for name, key in MAP_WORDS.items()},
        "attribution": visitor.context.settings.map_attribution,
        "units": {key: visitor.text(f"unit_{key}", "{}") for key in ("seconds", "minutes", "hours", "days")},
        "may_read_dead_letters": visitor.may(authorization.DEAD_LETTERS),
    }
    return TEMPLATES.get_template(template).render({**names, **values})


def navigation(visitor: Visitor) -> list[tuple[str, str]]:
    """Return the pages that a visitor may open, each as the key of its name and its address."""
    return [(key, path) for key, path, right in NAVIGATION if visitor.may(right)]


def settings_navigation(visitor: Visitor) -> list[tuple[str, str]]:
    """Return the pages of settings that a visitor may open; those of duty and enrolment need a database."""
    has_database = visitor.context.unscoped_store.database is not None
    return [
        (key, path)
        for key, path, right in SETTINGS_NAVIGATION
        if visitor.may(right) and (has_database or key == "keys")
    ]


def page_response(visitor: Visitor, template: str, *, http_status: int = 200, **values: Any) -> HTMLResponse:
    """Return a template as a page, with the policy for its scripts and tiles."""
    policy = page_policy(visitor.context.settings)
    headers = {"Content-Security-Policy": policy, "Content-Language": visitor.language}
    if http_status >= HTTPStatus.BAD_REQUEST:
        headers["HX-Push-Url"] = "false"  # a refused form stays at its address, which can be loaded again
    return HTMLResponse(render(visitor, template, **values), http_status, headers=headers)


def page_policy(settings: Settings) -> str:
    """Return the content security policy of pages, which may load the map's tiles from their server."""
    if not settings.map_tiles:
        return CONSOLE_POLICY
    parts = urlsplit(settings.map_tiles)
    server = f"{parts.scheme}://{parts.netloc}"
    return CONSOLE_POLICY.replace("connect-src 'self'", f"connect-src 'self' {server}").replace(
        "img-src 'self'", f"img-src 'self' {server}"
    )


async def current_visitor(request: Request, context: CurrentContext) -> Visitor:
    """Return the visitor of a request."""
    language = choose_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language"))
    query = f"?{request.url.query}" if request.url.query else ""
    return Visitor(context, language, request.url.path + query)


CurrentVisitor = Annotated[Visitor, Depends(current_visitor)]


class StateCaches:
    """Caches of the platform's state: visitors who may see the same share one."""

    def __init__(self) -> None:
        self._caches: dict[tuple[object, ...], PlatformStateCache] = {}

    def cache_of(self, visitor: Visitor) -> PlatformStateCache:
        """Return the cache of what the visitor may see."""
        key = visitor.view_key
        if key not in self._caches:
            self._caches[key] = PlatformStateCache(visitor.context)
        return self._caches[key]


async def current_state(request: Request, visitor: CurrentVisitor) -> PlatformState:
    """Return the state of the platform for the visitor's areas.

    Raises
    ------
    StoreUnavailableError
        While it was never read, because the database does not answer.

    """
    caches: StateCaches = request.app.state.console_states
    state = await caches.cache_of(visitor).newest()
    if state is None:
        raise StoreUnavailableError("the database does not answer, and its state was never read")
    return state


CurrentState = Annotated[PlatformState, Depends(current_state)]


def require(visitor: Visitor, right: RequiredRight) -> None:
    """Raise `ProblemError` 403 where a visitor does not have a right that only a part of a route needs."""
    if not visitor.may(right):
        raise ProblemError(403, visitor.text("no_right_for_this"))
