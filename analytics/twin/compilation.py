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


def is_ready(*functions: Callable[..., Any]) -> bool:
    """Whether compiled functions can be called without waiting for the compiler; never without Numba."""
    if not is_available():
        return False
    return all(getattr(one, "signatures", True) or is_cached(one) for one in functions)


def is_cached(*functions: Callable[..., Any]) -> bool:
    """Whether Numba's cache has compiled functions of the present source, by the present Numba."""
    caches = [getattr(one, "_cache", None) for one in functions]  # None where NUMBA_DISABLE_JIT is set
    # Numba has no public query of its cache
    return all(one is None or bool(one._cache_file._load_index()) for one in caches)  # noqa: SLF001
