"""Reads the environments of an installation's processes: this one's, and those of systemd's files."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from deploy.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = "TOWNTWIN_"
SECRET_SUFFIXES = ("_PASSWORD_FILE", "_KEY", "_KEY_FILE")
CERTIFICATE_SUFFIXES = ("_TLS_CERT", "_BROKER_CERTIFICATE")
AUTHORITY_SUFFIX, SECRETS_FOLDER_SUFFIX = "_AUTHORITY", "_SECRETS_FOLDER"

S = TypeVar("S", bound=msgspec.Struct)


class ProcessEnvironment(msgspec.Struct, frozen=True):
    """Variables of a process; ``file`` is where they are from, None for those of this process."""

    variables: dict[str, str]
    file: Path | None = None

    def settings(self, kind: type[S], process: str | None) -> S:
        """Return settings as a process with these variables has them. Raises `SettingsError`."""
        return load_settings(kind, process, argparse.Namespace(), self.variables)

    def secret_files(self) -> Iterator[Path]:
        """Yield the files with secrets that the variables name, and the file of the variables itself."""
        if self.file is not None:
            yield self.file
        for name, value in self.variables.items():
            path = Path(value)
            if name.endswith(SECRET_SUFFIXES):
                yield path
            elif name.endswith(AUTHORITY_SUFFIX):
                yield path / "ca.key"
            elif name.endswith(SECRETS_FOLDER_SUFFIX):
                yield from (one for one in path.rglob("*") if one.is_file())

    def certificates(self) -> Iterator[Path]:
        """Yield the files of certificates that the variables name, without authorities."""
        yield from (
            Path(value) for name, value in self.variables.items() if name.endswith(CERTIFICATE_SUFFIXES)
        )

    def authorities(self) -> Iterator[Path]:
        """Yield the certificates of the authorities that the variables name."""
        for name, value in self.variables.items():
            if name.endswith(AUTHORITY_SUFFIX):
                yield Path(value) / "ca.crt"


def own_environment(environ: Mapping[str, str]) -> ProcessEnvironment:
    """Return the environment of this process."""
    return ProcessEnvironment({name: value for name, value in environ.items() if name.startswith(PREFIX)})


def read_environment_file(path: Path) -> ProcessEnvironment:
    """Read a file of systemd's ``EnvironmentFile``: NAME=VALUE lines. Raises `SettingsError`."""
    variables = {}
    try:
        lines = path.read_text("utf-8").splitlines()
        for line in lines:
            name, is_pair, value = line.strip().partition("=")
            if is_pair and name.startswith(PREFIX):
                variables[name] = " ".join(shlex.split(value))
    except (OSError, ValueError) as error:
        raise SettingsError(f"--environment-file {path}: can't be read: {error}") from error
    return ProcessEnvironment(variables, path)
