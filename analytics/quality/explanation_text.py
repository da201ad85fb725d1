"""Builds the sentences that end the reasons of an explained anomaly, in English and Chinese."""

from __future__ import annotations

from typing import NamedTuple

from analytics.quality.cause_text import OTHER_AREA_EN, OTHER_AREA_ZH
from analytics.quality.detector_names import DETECTORS


class BilingualSentence(NamedTuple):
    """A sentence in English and in Chinese, with its separator from the text before it."""

    en: str
    zh: str


FOLLOWS_RAIN = BilingualSentence("; it follows rain", "；发生于降雨之后")


def part_of_event(detector: str) -> BilingualSentence:
    """Return that an anomaly is part of its site's event, by the detector of that event."""
    english, chinese = DETECTORS[detector]
    return BilingualSentence(
        f"; part of the site's event ({english})", f"；属于该站点的同一事件（{chinese}）"
    )


def arrived_from(name_en: str | None, name_zh: str | None) -> BilingualSentence:
    """Return that an event began at a site upstream; without names for a site of another area."""
    return BilingualSentence(
        f"; it began upstream, at {name_en or OTHER_AREA_EN}", f"；始于上游{name_zh or OTHER_AREA_ZH}"
    )
