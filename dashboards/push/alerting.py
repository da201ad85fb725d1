"""Pushes alert rules, contact points and the notification policy by Grafana's provisioning API.

``X-Disable-Provenance`` leaves them editable in Grafana. A rule carries the digest of the pushed content in
an annotation, so that a manual change is detected; contact points and the policy have no field for one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from dashboards.alerting.alert_rules import build_alert_rules
from dashboards.alerting.contact_points import (
    CONTACT_POINT_NAME,
    build_contact_points,
    notification_route,
    with_notification_route,
)
from dashboards.push.change import GrafanaChange, Verdict, digest, without_additions
from dashboards.push.grafana_connection import convert_grafana_errors, get_or_none

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

    from dashboards.grafana_versions import GrafanaFeatures
    from dashboards.settings import Settings

DIGEST_ANNOTATION = "towntwin_push"
REDACTED = "[REDACTED]"


def alerting_changes(
    grafana: GrafanaApi, settings: Settings, features: GrafanaFeatures
) -> list[GrafanaChange]:
    """Return the changes to make; without a contact point, alerts take Grafana's default route."""
    desired = build_contact_points(settings)
    found_rules = [_rule(grafana, one) for one in build_alert_rules(features, settings.console_url)]
    if not desired:
        return found_rules
    return [*(_contact(grafana, one) for one in desired), _policy(grafana), *found_rules]


def _rule(grafana: GrafanaApi, rule: dict[str, Any]) -> GrafanaChange:
    api = grafana.alertingprovisioning
    object_name = f"alert rule {rule['uid']}"
    existing = get_or_none(partial(api.get_alertrule, rule["uid"]), object_name)
    desired = {**rule, "annotations": {**rule["annotations"], DIGEST_ANNOTATION: digest(rule)}}
    before = None if existing is None else _comparable_rule(existing, desired)

    def write() -> None:
        with convert_grafana_errors(object_name):
            if existing is None:
                api.create_alertrule(desired, disable_provenance=True)
            else:
                api.update_alertrule(rule["uid"], {**existing, **desired}, disable_provenance=True)

    verdict: Verdict = "new" if before is None else _rule_verdict(before, desired)
    why = "its content is not what was pushed"
    return GrafanaChange(
        object_name=object_name, verdict=verdict, before=before, after=desired, write=write, why=why
    )


def _comparable_rule(existing: dict[str, Any], desired: dict[str, Any]) -> dict[str, Any]:
    """Return Grafana's rule in a form comparable with the pushed one.

    Fields that Grafana added are left out, and fields that an older version does not return are taken from
    the pushed rule. Labels and annotations are compared in full.
    """
    with_labels = {key: existing.get(key) or {} for key in ("labels", "annotations")}
    return {**desired, **without_additions(existing, desired), **with_labels}


def _rule_verdict(before: dict[str, Any], desired: dict[str, Any]) -> Verdict:
    if before == desired:
        return "same"
    notes = dict(before["annotations"])
    pushed_digest = notes.pop(DIGEST_ANNOTATION, None)
    return "ours" if pushed_digest == digest({**before, "annotations": notes}) else "foreign"


def _contact(grafana: GrafanaApi, desired: dict[str, Any]) -> GrafanaChange:
    api = grafana.alertingprovisioning
    object_name = f"contact point {desired['uid']}"
    with convert_grafana_errors(object_name):
        listed = api.get_contactpoints(CONTACT_POINT_NAME)
    existing = next((one for one in listed or [] if one["uid"] == desired["uid"]), None)
    before = None if existing is None else without_additions(existing, desired)

    def write() -> None:
        with convert_grafana_errors(object_name):
            if existing is None:
                api.create_contactpoint(desired, disable_provenance=True)
            else:
                api.update_contactpoint(desired["uid"], desired, disable_provenance=True)

    return GrafanaChange(
        object_name=object_name,
        verdict="new" if before is None else "same" if _equal_without_secrets(before, desired) else "foreign",
        before=before,
        after=desired,
        write=write,
        why="it is not what the settings say: a person changed it, or the settings are new",
    )


def _equal_without_secrets(before: dict[str, Any], desired: dict[str, Any]) -> bool:
    """Whether both are equal apart from secrets, which Grafana redacts."""
    comparable_settings = {
        key: desired["settings"][key] if value == REDACTED else value
        for key, value in before["settings"].items()
    }
    return {**before, "settings": comparable_settings} == desired


def _policy(grafana: GrafanaApi) -> GrafanaChange:
    """Return the change to towntwin's route in the policy tree; every other route is left unchanged."""
    object_name = "notification policy"
    with convert_grafana_errors(object_name):
        tree = grafana.alertingprovisioning.get_notification_policy_tree()
    ours = [one for one in tree.get("routes") or [] if one.get("receiver") == CONTACT_POINT_NAME]
    is_same = [without_additions(one, notification_route()) for one in ours] == [notification_route()]

    def write() -> None:
        with convert_grafana_errors(object_name):
            grafana.alertingprovisioning.set_notification_policy_tree(
                with_notification_route(tree), disable_provenance=True
            )

    return GrafanaChange(
        object_name=object_name,
        verdict="same" if is_same else "foreign" if ours else "new",
        before=ours or None,
        after=notification_route(),
        write=write,
        why=f"the route to {CONTACT_POINT_NAME} is not what was pushed",
    )
