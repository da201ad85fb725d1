"""Computes the contrast of the texts that Grafana writes on colours.

Sources: W3C, WCAG 2.2 (relative luminance, contrast ratio); Grafana, packages/grafana-ui (text colour by the
brightness of the background; gradient of stat panels), reimplemented from their behaviour.
"""

from __future__ import annotations

import colorsys

AA_TEXT = 4.5
TRANSPARENT = "transparent"
_DARK, _WHITE = (32, 34, 38), (247, 248, 250)
_BRIGHT = 180  # of 255: brighter backgrounds get dark text
_GRADIENT_LIGHTNESS = (-0.15, -0.05, 0.105, 0.035)
"""Changes of lightness across the background of a stat panel: dark theme, then light theme."""

Rgb = tuple[float, float, float]


def text_colour(background: str) -> Rgb:
    """Return the text colour that Grafana chooses on a background ``#rrggbb``."""
    red, green, blue = rgb(background)
    return _DARK if (299 * red + 587 * green + 114 * blue) / 1000 > _BRIGHT else _WHITE


def rgb(colour: str) -> Rgb:
    """Return the parts of ``#rrggbb``, 0 to 255."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


def contrast(one: Rgb, other: Rgb) -> float:
    """Return the contrast ratio of two colours, 1 to 21.

    >>> round(contrast((0, 0, 0), (255, 255, 255)))
    21
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def contrast_on(background: str) -> float:
    """Return the contrast of the text that Grafana writes on a background."""
    return contrast(text_colour(background), rgb(background))


def lowest_contrast_on_gradient(background: str) -> float:
    """Return the lowest contrast across the gradient that a stat panel makes of a colour, in both themes."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(one / 255 for one in rgb(background)))
    text = text_colour(background)
    found = []
    for change in _GRADIENT_LIGHTNESS:
        red, green, blue = colorsys.hls_to_rgb(hue, min(1.0, max(0.0, lightness + change)), saturation)
        found.append(contrast(text, (255 * red, 255 * green, 255 * blue)))
    return min(found)


def _luminance(colour: Rgb) -> float:
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (one / 255 for one in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
