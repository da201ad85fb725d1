"""Dashboards, data source and alerting into a Grafana by its API, never over a person's change unsaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.push import alerting, basics, boards, show
from dashboards.push.api import PushError, connected

if TYPE_CHECKING:
    from rich.console import Console

    from dashboards.push.change import Change
    from dashboards.settings import Settings

__all__ = ["PushError", "push"]


def push(settings: Settings, console: Console, *, dry_run: bool = False, force: bool = False) -> list[Change]:
    """Bring a Grafana up to date; what is as it should be is left alone. Returns what there was to do.

    Raises
    ------
    PushError
        in a sentence; before anything is written where a person changed something, unless ``force``.

    """
    with connected(settings) as grafana:
        changes = [
            *basics.changes(grafana, settings),
            *boards.changes(grafana),
            *alerting.changes(grafana, settings),
        ]
        wanted = [one for one in changes if one.verdict != "same"]
        if dry_run:
            for one in wanted:
                show.difference(one, console)
        else:
            _write(wanted, force=force)
    show.summary(changes, console, dry_run=dry_run)
    return wanted


def _write(wanted: list[Change], *, force: bool) -> None:
    foreign = [one for one in wanted if one.verdict == "foreign"]
    if foreign and not force:
        raise PushError(
            "nothing was written, for a person changed this in Grafana:\n"
            + "\n".join(f"  {one.what}: {one.why}" for one in foreign)
            + "\nlook with --dry-run; keep it by bringing it into the code, or overwrite it with --force"
        )
    for one in wanted:
        one.write()
