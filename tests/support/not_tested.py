"""Collects what a test run could not test and reports it at the end; under CI=true it fails instead."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

_not_tested: list[str] = []


def is_ci() -> bool:
    """Return whether this is a CI run, in which nothing may be skipped."""
    return os.environ.get("CI") == "true"


def not_tested(sentence: str) -> None:
    """Record what this run does not test; fail under CI=true."""
    if is_ci():
        pytest.fail(f"{sentence} (CI=true: nothing may be left out)", pytrace=False)
    note(sentence)


def note(sentence: str) -> None:
    """Record a sentence for the end of the run."""
    if sentence not in _not_tested:
        _not_tested.append(sentence)


def skip(sentence: str) -> NoReturn:
    """Skip a test and report it at the end of the run; fail under CI=true."""
    not_tested(sentence)
    pytest.skip(sentence)


def skip_always(sentence: str) -> NoReturn:
    """Skip an optional test: it is reported at the end of the run, but never fails."""
    note(sentence)
    pytest.skip(sentence)


def sentences() -> list[str]:
    """Return what was not tested so far."""
    return list(_not_tested)
