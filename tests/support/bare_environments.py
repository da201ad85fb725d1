"""Makes virtual environments that hold one extra of `pyproject.toml`, from the files of this environment.

What an extra needs is resolved from the metadata, as pip does, and the files of exactly those distributions
are hard-linked into a bare environment. That takes no network, has the locked versions, and takes a second.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable

REPOSITORY = Path(__file__).parents[2]


def build_wheel(folder: Path) -> Path:
    """Build the project's wheel with the locked hatchling of this environment."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


class BareEnvironment:
    """A virtual environment with the wheel, its dependencies, and those of one extra.

    Attributes
    ----------
    python : its interpreter
    distributions : canonical names of the distributions in it, without the project

    """

    def __init__(self, folder: Path, wheel: Path, extra: str) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.python = folder / "bin/python"
        self._packages = folder / "lib" / version / "site-packages"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self._packages)
        (metadata,) = self._packages.glob("towntwin-*.dist-info")
        self.distributions = resolve(Distribution.at(metadata), extra)
        for name in self.distributions:
            self._link(distribution(name))

    def run(self, *args: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run its interpreter without this environment's variables; standard input is empty."""
        return subprocess.run(
            [str(self.python), "-I", *args],
            cwd=folder,
            env={"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _link(self, found: Distribution) -> None:
        for file in found.files or ():
            if file.is_absolute() or ".." in file.parts:
                continue  # scripts and manual pages
            source, target = Path(str(found.locate_file(file))), self._packages / file
            if source.exists() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source, target)
                except OSError:  # another file system
                    shutil.copy2(source, target)


def resolve(project: Distribution, extra: str) -> set[str]:
    """Return the canonical names of the distributions that the project and one extra of it need."""
    needed: set[str] = set()
    visited: set[tuple[str, str]] = set()

    def visit(found: Distribution, extras: Iterable[str]) -> None:
        for one in extras:
            name = str(canonicalize_name(found.metadata["Name"]))
            if (name, one) in visited:
                continue
            visited.add((name, one))
            for requirement in map(Requirement, found.requires or ()):
                if requirement.marker is None or requirement.marker.evaluate({"extra": one}):
                    dependency = canonicalize_name(requirement.name)
                    if dependency == "towntwin":
                        visit(project, requirement.extras)
                        continue
                    needed.add(str(dependency))
                    visit(distribution(dependency), ["", *requirement.extras])

    with suppress(PackageNotFoundError):
        visit(project, ["", extra])
        return needed
    raise AssertionError(f"the environment of the tests lacks a dependency of the extra {extra!r}")
