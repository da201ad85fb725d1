"""Locates the reports' font, Noto Sans SC (SIL OFL 1.1), in a wheel, so that no system font is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.service.reports.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path


def font_path() -> Path:
    """Return the path of the font file. Raises `MissingExtraError` if the extra is not installed."""
    try:
        from pylopdf_fonts_zh_cn import sans_path  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(
            "reports need the extra of that name: pip install towntwin[reports]"
        ) from error
    path: Path = sans_path()
    return path
