"""Reads the weights of the towns' evaluation index from TOML; also the version of its formulas."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from analytics.errors import AnalyticsError

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "3"
INDEX_PARTS = ("water_target", "water_good", "roads", "capture", "validity", "response", "incidents")


class IndexRulesError(AnalyticsError, ValueError):
    """The file of weights can't be used; the message names the cause and the remedy."""


class IndexRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The index's weights by part, and the target time of a response ``response_wanted_h`` [h]."""

    response_wanted_h: Annotated[float, Meta(gt=0)]
    weights: dict[str, Annotated[float, Meta(ge=0)]]

    @property
    def version_text(self) -> str:
        """Version of the formulas and the weights as one text; if it changes, all months are recomputed."""
        return f"{VERSION} {self.response_wanted_h:g} {sorted(self.weights.items())}"


def read_index_rules(path: Path | None) -> IndexRules:
    """Return the rules of a file, or without a path the defaults of towntwin.

    Raises
    ------
    IndexRulesError
        With what is wrong in the file.

    """
    name = "index.toml" if path is None else str(path)
    try:
        file = files("analytics.service.monthly_assessment").joinpath(name) if path is None else path
        text = file.read_text("utf-8-sig")
        rules = msgspec.convert(tomllib.loads(text), IndexRules)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise IndexRulesError(f"{name} can't be used as the index's weights: {error}") from error
    if unknown := rules.weights.keys() - set(INDEX_PARTS):
        raise IndexRulesError(
            f"{name}: there is no part {min(unknown)!r}; there are {', '.join(INDEX_PARTS)}"
        )
    if not sum(rules.weights.values()):
        raise IndexRulesError(f"{name}: every weight is 0: give one part a weight")
    return rules
