"""Alert rules, contact points and the notification policy, by the provisioning API.

``X-Disable-Provenance`` leaves them editable in Grafana. A rule carries the digest of what was pushed in an
annotation, so that a person's change shows; contact points and the policy have no room for one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from dashboards.alerting.contacts import NAME, contacts, route, with_route
from dashboards.alerting.rules import rules
from dashboards.push.api import found, said
from dashboards.push.change import Change, Verdict, digest, like

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

    from dashboards.settings import Settings

MARK = "towntwin_push"
REDACTED = "[REDACTED]"


def changes(grafana: GrafanaApi, settings: Settings) -> list[Change]:
    """What is to be done to each; without a contact point, alerts take the way of everything else."""
    wanted = contacts(settings)
    found_rules = [_rule(grafana, one) for one in rules()]
    if not wanted:
        return found_rules
    return [*(_contact(grafana, one) for one in wanted), _policy(grafana), *found_rules]


def _rule(grafana: GrafanaApi, rule: dict[str, Any]) -> Change:
    api = grafana.alertingprovisioning
    what = f"alert rule {rule['uid']}"
    there = found(partial(api.get_alertrule, rule["uid"]), what)
    wanted = {**rule, "annotations": {**rule["annotations"], MARK: digest(rule)}}
    before = None if there is None else _told(there, wanted)

    def write() -> None:
        with said(what):
            if there is None:
                api.create_alertrule(wanted, disable_provenance=True)
            else:
                api.update_alertrule(rule["uid"], {**there, **wanted}, disable_provenance=True)

    verdict: Verdict = "new" if before is None else _judged(before, wanted)
    why = "its content is not what was pushed"
    return Change(what=what, verdict=verdict, before=before, after=wanted, write=write, why=why)


def _told(there: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """A rule as Grafana tells it: without what it added, and with what an older one does not know as pushed.

    Labels and annotations are words, and stay whole.
    """
    whole = {key: there.get(key) or {} for key in ("labels", "annotations")}
    return {**wanted, **like(there, wanted), **whole}


def _judged(before: dict[str, Any], wanted: dict[str, Any]) -> Verdict:
    if before == wanted:
        return "same"
    notes = dict(before["annotations"])
    mark = notes.pop(MARK, None)
    return "ours" if mark == digest({**before, "annotations": notes}) else "foreign"


def _contact(grafana: GrafanaApi, wanted: dict[str, Any]) -> Change:
    api = grafana.alertingprovisioning
    what = f"contact point {wanted['uid']}"
    with said(what):
        listed = api.get_contactpoints(NAME)
    there = next((one for one in listed or [] if one["uid"] == wanted["uid"]), None)
    before = None if there is None else like(there, wanted)

    def write() -> None:
        with said(what):
            if there is None:
                api.create_contactpoint(wanted, disable_provenance=True)
            else:
                api.update_contactpoint(wanted["uid"], wanted, disable_provenance=True)

    return Change(
        what=what,
        verdict="new" if before is None else "same" if _without_secrets(before, wanted) else "foreign",
        before=before,
        after=wanted,
        write=write,
        why="it is not what the settings say: a person changed it, or the settings are new",
    )


def _without_secrets(before: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether both are the same as far as Grafana tells; what is secret it never tells."""
    shown = {
        key: wanted["settings"][key] if value == REDACTED else value
        for key, value in before["settings"].items()
    }
    return {**before, "settings": shown} == wanted


def _policy(grafana: GrafanaApi) -> Change:
    """Our route in the tree; every other route stays as it is."""
    what = "notification policy"
    with said(what):
        tree = grafana.alertingprovisioning.get_notification_policy_tree()
    ours = [one for one in tree.get("routes") or [] if one.get("receiver") == NAME]
    is_same = [like(one, route()) for one in ours] == [route()]

    def write() -> None:
        with said(what):
            grafana.alertingprovisioning.set_notification_policy_tree(
                with_route(tree), disable_provenance=True
            )

    return Change(
        what=what,
        verdict="same" if is_same else "foreign" if ours else "new",
        before=ours or None,
        after=route(),
        write=write,
        why=f"the route to {NAME} is not what was pushed",
    )
