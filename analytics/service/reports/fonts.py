"""The font of reports: Noto Sans SC (SIL OFL 1.1), from a wheel, so that Chinese shows on a bare machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.errors import AnalyticsError

if TYPE_CHECKING:
    from pathlib import Path


class MissingExtraError(AnalyticsError, ImportError):
    """What reports need is not installed; the sentence names the extra."""


def font_path() -> Path:
    """The font file. Raises `MissingExtraError` where the extra is not installed."""
    try:
        from pylopdf_fonts_zh_cn import sans_path  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(
            "reports need the extra of that name: pip install towntwin[reports]"
        ) from error
    path: Path = sans_path()
    return path
