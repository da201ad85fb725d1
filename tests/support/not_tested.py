"""Collects what a test run could not test and reports it at the end; under CI=true it fails instead."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

_not_tested: list[str] = []


def is_ci() -> bool:
    """Whether nothing may be left out."""
    return os.environ.get("CI") == "true"


def not_tested(sentence: str) -> None:
    """Note what this run leaves out; fail under CI=true."""
    if is_ci():
        pytest.fail(f"{sentence} (CI=true: nothing may be left out)", pytrace=False)
    note(sentence)


def note(sentence: str) -> None:
    """Note it for the end of the run."""
    if sentence not in _not_tested:
        _not_tested.append(sentence)


def skip(sentence: str) -> NoReturn:
    """Skip a test, and say so at the end of the run; fail under CI=true."""
    not_tested(sentence)
    pytest.skip(sentence)


def skip_always(sentence: str) -> NoReturn:
    """Skip a test that is welcome, not required: said at the end of the run, and no failure anywhere."""
    note(sentence)
    pytest.skip(sentence)


def sentences() -> list[str]:
    """What was left out so far."""
    return list(_not_tested)
