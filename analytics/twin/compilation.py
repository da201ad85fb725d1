"""Compiles functions of loops over arrays with Numba where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def is_available() -> bool:
    """Whether Numba is installed."""
    return find_spec("numba") is not None


def compiled(function: F) -> F:
    """Return the function compiled; as it is without Numba."""
    if not is_available():
        return function
    from numba import njit  # noqa: PLC0415 - an extra; the plain path is always there

    options: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True}
    return cast("F", njit(**options)(function))
