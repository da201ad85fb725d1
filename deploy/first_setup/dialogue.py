"""Collects the answers of the first set-up: from flags and a file, and the rest from the terminal."""

from __future__ import annotations

import getpass
import tomllib
from typing import TYPE_CHECKING

from deploy.first_setup.answers import QUESTIONS, AnswerError, Language
from deploy.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.first_setup.answers import Question

MAX_SECRET_BYTES = 4096
NAME_OF_CHINESE = "中文"


def read_answers_file(path: Path) -> dict[str, str]:
    """Read answers from a TOML file; those of a secret are files, ``messenger_address_file = …``.

    Raises
    ------
    SettingsError
        If the file can't be read, or has an unknown answer.

    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"--answers={path}: can't be read as TOML: {error}") from error
    names = {one.name + ("_file" if one.is_secret else "") for one in QUESTIONS}
    unknown = sorted(table.keys() - names)
    if unknown:
        raise SettingsError(
            f"{path}: unknown answers {', '.join(unknown)}: there are {', '.join(sorted(names))}"
        )
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in table.items()
    }


def collect_answers(given: Mapping[str, str], *, language: Language, prompts: bool) -> dict[str, str]:
    """Return the answer of each question that applies.

    Parameters
    ----------
    given : answers of flags and file; those of secrets are paths, by the name with ``_file``
    language : of prompts and errors
    prompts : whether missing answers are prompted for; else a default is taken

    Raises
    ------
    SettingsError
        For each wrong answer that was given, or that is missing without a terminal.

    """
    answers: dict[str, str] = {}
    missing: list[str] = []
    for question in QUESTIONS:
        if missing or not question.applies(answers):
            if missing and _is_missing(question, given):
                missing.append(question.name)
            continue
        if question.name in given or f"{question.name}_file" in given:
            answers[question.name] = _given_answer(question, given, language)
            continue
        default = question.default(answers)
        if prompts:
            answers[question.name] = _prompt(question, default, language)
        elif default is not None:
            answers[question.name] = default
        else:
            missing.append(question.name)
    if missing:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise SettingsError(
            f"安装设置：没有终端时须给出 {flags}（或写入 --answers 指定的文件）"
            if language == "zh"
            else f"setup: without a terminal these are required: {flags} (or in --answers FILE)"
        )
    return answers


def _is_missing(question: Question, given: Mapping[str, str]) -> bool:
    return question.is_required and question.name not in given


def _given_answer(question: Question, given: Mapping[str, str], language: Language) -> str:
    flag = question.name.replace("_", "-") + ("-file" if question.is_secret else "")
    if question.is_secret:
        answer = _read_secret(given[f"{question.name}_file"], flag)
    else:
        answer = question.normalise(given[question.name])
    try:
        question.check(answer)
    except AnswerError as error:
        raise SettingsError(f"--{flag}: {error.texts[language]}") from error
    return answer


def _read_secret(path: str, flag: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - the answer is text
            return file.read(MAX_SECRET_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--{flag}={path}: can't be read ({error})") from error


def _prompt(question: Question, default: str | None, language: Language) -> str:
    """Prompt until an answer can be used; an empty one is the default."""
    shown = f" [{default}]" if default is not None else ""
    prompt = f"{question.text(language)}{shown}: "
    while True:
        typed = getpass.getpass(prompt) if question.is_secret else input(prompt)
        answer = question.normalise(typed) or default or ""
        try:
            question.check(answer)
        except AnswerError as error:
            print(f"  {error.texts[language]}")
            continue
        return answer


def choose_language(given: str | None, locale: str, *, prompts: bool) -> Language:
    """Return the language of the dialogue: the given one, or the chosen one, or that of the locale."""
    if given is not None:
        return "zh" if given == "zh" else "en"
    default: Language = "zh" if locale.lower().startswith("zh") else "en"
    if not prompts:
        return default
    while True:
        try:
            answer = input(f"1 {NAME_OF_CHINESE}, 2 English [{'1' if default == 'zh' else '2'}]: ").strip()
        except EOFError:  # so does the first question
            return default
        if answer in {"", "1", "2"}:
            return {"": default, "1": "zh", "2": "en"}[answer]
