"""Renders the annotations of alert rules as Grafana does: the part of Go's templates that they use.

Known are ``if``, ``with``, ``else``, ``end``, the variables ``$labels``, ``$values`` and ``.Value``, and the
functions ``printf``, ``reReplaceAll`` and ``externalURL``; anything else is an error. A missing label is
``[no value]`` when it is printed (Grafana, pkg/services/ngalert/state/template), and false in a condition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ACTION = re.compile(r"\{\{(.*?)\}\}")


class TemplateError(ValueError):
    """A template uses what this renderer does not know, or does not close what it opened."""


@dataclass(frozen=True)
class AlertData:
    """What a template sees: labels of the alert, values by query, Grafana's address."""

    labels: dict[str, str]
    values: dict[str, float] = field(default_factory=dict)
    external_url: str = "https://grafana.example/"


def render(template: str, data: AlertData) -> str:
    """Return the text of a template for an alert."""
    parts = _ACTION.split(template)  # text and actions in turn
    text, end = _block(parts, 0, data, dot=None)
    if end != len(parts):
        raise TemplateError(f"an end without a begin in {template!r}")
    return text


def _block(parts: list[str], at: int, data: AlertData, dot: float | None) -> tuple[str, int]:
    """Render until the action that ends a block; return the text and that action's place."""
    text = parts[at]
    at += 1
    while at < len(parts):
        action = parts[at].strip()
        if action in ("else", "end"):
            return text, at
        if action.startswith(("if ", "with ")):
            rendered, at = _condition(parts, at, data)
        else:
            rendered = _value(action, data, dot)
        text += rendered + parts[at + 1]
        at += 2
    return text, at


def _condition(parts: list[str], at: int, data: AlertData) -> tuple[str, int]:
    """Render a condition and return its text and the place of its end."""
    kind, _, operand = parts[at].strip().partition(" ")
    chosen, dot = _truth(operand, data)
    first, at = _block(parts, at + 1, data, dot if kind == "with" else None)
    second = ""
    if at < len(parts) and parts[at].strip() == "else":
        second, at = _block(parts, at + 1, data, None)
    if at >= len(parts) or parts[at].strip() != "end":
        raise TemplateError(f"no end of {kind} {operand}")
    return (first if chosen else second), at


def _truth(operand: str, data: AlertData) -> tuple[bool, float | None]:
    if found := re.fullmatch(r"\$labels\.(\w+)", operand):
        return bool(data.labels.get(found[1])), None
    if found := re.fullmatch(r"\$values\.(\w+)", operand):
        return found[1] in data.values, data.values.get(found[1])
    raise TemplateError(f"unknown operand {operand!r}")


def _value(action: str, data: AlertData, dot: float | None) -> str:
    if found := re.fullmatch(r"\$labels\.(\w+)", action):
        return data.labels.get(found[1], "[no value]")
    if action == 'printf "%.0f" .Value':
        return "" if dot is None else f"{dot:.0f}"  # without a value it is in a branch that is not chosen
    if action == 'reReplaceAll "/$" "" externalURL':
        return re.sub("/$", "", data.external_url)
    raise TemplateError(f"unknown action {action!r}")
