"""Pushes dashboards, data source and alerting to Grafana; overwrites manual changes only with ``force``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.grafana_versions import GrafanaVersion, features_of, is_supported
from dashboards.push import alerting, dashboard_push, folder_and_data_source, terminal_output
from dashboards.push.grafana_connection import PushError, grafana_connection, read_version

if TYPE_CHECKING:
    from rich.console import Console

    from dashboards.push.change import GrafanaChange
    from dashboards.settings import Settings

__all__ = ["PushError", "push"]


def push(
    settings: Settings, console: Console, *, dry_run: bool = False, force: bool = False
) -> list[GrafanaChange]:
    """Bring a Grafana server up to date, and return the changes; what is up to date is not written.

    The version is read first, and everything is built for it; an unsupported one gets a warning.

    Raises
    ------
    PushError
        With the reason and the remedy. If something was changed in Grafana by hand, it is raised before
        anything is written, unless ``force``.

    """
    with grafana_connection(settings) as grafana:
        version = read_version(grafana)
        _warn_of_version(version, console)
        features = features_of(version)
        changes = [
            *folder_and_data_source.basic_changes(grafana, settings, features),
            *dashboard_push.dashboard_changes(grafana, settings),
            *alerting.alerting_changes(grafana, settings, features),
        ]
        pending = [one for one in changes if one.verdict != "same"]
        if dry_run:
            for one in pending:
                terminal_output.print_difference(one, console)
        else:
            _write_changes(pending, force=force)
    terminal_output.print_summary(changes, console, dry_run=dry_run)
    return pending


def _warn_of_version(version: GrafanaVersion | None, console: Console) -> None:
    if is_supported(version):
        return
    found = (
        "a Grafana that hides its version" if version is None else f"Grafana {'.'.join(map(str, version))}"
    )
    console.print(
        f"WARNING: {found}: dashboards and alert rules are for Grafana 9.4 to 12: check what is shown",
        style="yellow", markup=False, soft_wrap=True,
    )  # fmt: skip


def _write_changes(pending: list[GrafanaChange], *, force: bool) -> None:
    foreign = [one for one in pending if one.verdict == "foreign"]
    if foreign and not force:
        raise PushError(
            "nothing was written, for a person changed this in Grafana:\n"
            + "\n".join(f"  {one.object_name}: {one.why}" for one in foreign)
            + "\nlook with --dry-run; keep it by bringing it into the code, or overwrite it with --force"
        )
    for one in pending:
        one.write()
