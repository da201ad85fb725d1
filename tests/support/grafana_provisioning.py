"""Reads provisioning files as Grafana 9.4 to 12 does: which fields have variables substituted, and how.

Source: Grafana, pkg/services/provisioning (values/values.go, alerting/rules_types.go,
alerting/contact_point_types.go, datasources/types.go). Reimplemented from their behaviour.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENVIRONMENT = re.compile(r"\$__env\{(\w+)\}")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
RAW_FIELDS = {"annotations", "data"}
"""Fields of an alert rule that are taken as they are written."""


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Return a text with its variables substituted; ``$$`` is a dollar sign, an unknown variable is empty.

    >>> substitute("$A ${A} $__env{A} $$A $B.", {"A": "x"})
    'x x x $A .'
    """
    parts = [_ENVIRONMENT.sub(lambda found: environ.get(found[1], ""), part) for part in text.split("$$")]
    return "$".join(
        _VARIABLE.sub(lambda found: environ.get(found[1] or found[2], ""), part) for part in parts
    )


def read_file(text: str, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the content of a provisioning file as Grafana understands it.

    Newer versions substitute ``${NAME}``, and only that, in annotations, too: such a text is refused.
    """
    content = dict(yaml.safe_load(text))
    for group in content.get("groups", []):
        for rule in group["rules"]:
            for annotation in rule["annotations"].values():
                if "${" in annotation:
                    raise AssertionError(f"versions differ in what they make of {annotation!r}")
    substituted: dict[str, Any] = _substituted(content, environ or {})
    return substituted


def _substituted(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return substitute(value, environ)
    if isinstance(value, dict):
        return {key: one if key in RAW_FIELDS else _substituted(one, environ) for key, one in value.items()}
    return [_substituted(one, environ) for one in value] if isinstance(value, list) else value
