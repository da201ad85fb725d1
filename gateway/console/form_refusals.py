"""Words the refusal of a form as a sentence in the visitor's language: the field and its rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from gateway.api.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.console.visitor import Visitor

CONFLICT, NOT_FOUND, FORBIDDEN, NO_DATABASE = 409, 404, 403, 501
SHOWN_AS_PAGE = {FORBIDDEN, NO_DATABASE}  # a form that its visitor may not send has no page to go back to

FIELDS: dict[str, tuple[str, str]] = {  # of requests: the key of the label, and of the rule
    **dict.fromkeys(("team_id", "roster_id", "channel_id", "cell_id"), ("identifier", "rule_id")),
    "member_id": ("members", "rule_members"),
    "members": ("members", "rule_members"),
    "text": ("handover_text", "rule_text"),
    "incidents": ("handover_incidents", "rule_incidents"),
    "name": ("key_name", "rule_name"),
    "en": ("name_en", "rule_name"),
    "zh": ("name_zh", "rule_name"),
    "area_id": ("area", "rule_unknown"),
    "area": ("area", "rule_unknown"),
    "geometry": ("polygon", "rule_geometry"),
    "features": ("polygon", "rule_geometry"),
    "email": ("channel_email", "rule_email"),
    "principal": ("principal", "rule_name"),
    "rank": ("rank", "rule_rank"),
    "rotations": ("rotations", "rule_rotations"),
    "starts": ("starts", "rule_rotations"),
    "shift_hours": ("shift_hours", "rule_rotations"),
    "from": ("from", "rule_to"),
    "to": ("until", "rule_to"),
    "url": ("url", "rule_url"),
    "url_secret": ("url_secret", "rule_secret"),
    "sign_secret": ("sign_secret", "rule_secret"),
    "quiet_from": ("quiet_time", "rule_quiet"),
    "quiet_to": ("quiet_time", "rule_quiet"),
    "site_id": ("site", "rule_unknown"),
    "summary": ("command_summary", "rule_summary"),
    "dashboard": ("command_dashboard_json", "rule_dashboard"),
    "sensors": ("placement_sensors", "rule_placement"),
    "amount_kg": ("placement_amount", "rule_placement"),
    "limit_mg_l": ("placement_limit", "rule_placement"),
    "existing": ("placement_existing", "rule_unknown"),
    "changes": ("scenario_place", "rule_scenario"),
    "devices": ("code_devices", "rule_code"),
    "hours": ("code_hours", "rule_code"),
    "site": ("site", "rule_unknown"),
    "quantity": ("quantity", "rule_unknown"),
    "unit": ("unit", "rule_unit"),
    "interval_s": ("interval", "rule_interval"),
    "limits": ("limits", "rule_limits"),
    "channels": ("channels_of_device", "rule_channels"),
}


class Refusal(NamedTuple):
    """Why a form was refused: a sentence, and the gateway's own English detail."""

    text: str
    detail: str


def refusal_of(error: ProblemError | ValidationError, visitor: Visitor) -> Refusal:
    """Return why a form was refused, in the visitor's language.

    Raises
    ------
    ProblemError
        The error itself, where the visitor may not use the form at all.

    """
    if isinstance(error, ProblemError) and error.status in SHOWN_AS_PAGE:
        raise error
    if isinstance(error, ProblemError) and error.status in {CONFLICT, NOT_FOUND}:
        key = "refused_taken" if error.status == CONFLICT else "refused_unknown"
        return Refusal(visitor.text(key), str(error))
    field = next((FIELDS[name] for name in _locations(error) if name in FIELDS), None)
    if field is None:
        return Refusal(visitor.text("refused_form"), _detail(error))
    label, rule = (visitor.text(key) for key in field)
    return Refusal(visitor.text("refused_field", label, rule), _detail(error))


def _locations(error: ProblemError | ValidationError) -> Iterator[str]:
    """Yield the names of what is wrong, the innermost first."""
    if isinstance(error, ValidationError):
        for one in reversed(error.errors()[0]["loc"]):
            yield str(one)
    elif error.where is not None:
        yield error.where


def _detail(error: ProblemError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
