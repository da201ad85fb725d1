"""Finds the compiled kernel in its cache; if it is not there, a child process compiles it.

Compiling takes a minute or two and 200 MB, which a process keeps to its end. On Linux and x86-64 the
cache has the machine code, which is loaded within milliseconds, as neither Numba nor LLVM is needed for it.
Elsewhere it is Numba's cache, from which loading takes 0.4 s, and 40 MB that stay.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analytics.core.compiled.machine_code import ARGUMENTS, MachineCodeKernel
from analytics.core.compiled.object_code import ObjectCodeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SOURCE_FOLDER = Path(__file__).parent
SOURCES = ("kernel.py", "compile_kernel.py")
IMPORT_FOLDER = SOURCE_FOLDER.parents[2]
TIMEOUT_S = 300.0
COMPILES_HERE = threading.Event()  # set in the child
HAS_MACHINE_CODE = sys.platform == "linux" and platform.machine() == "x86_64"
COMPILERS = ("numba", "llvmlite")
CPUINFO = Path("/proc/cpuinfo")
CPUINFO_BYTES = 8192  # includes the first processor; the lines of all take long where there are many
CPU_LINES = ("vendor_id", "cpu family", "model", "flags")  # what LLVM compiles for
CHECKSUM_BYTES = sha256().digest_size


def load_kernel() -> MachineCodeKernel | ModuleType:
    """Return the functions of the kernel, compiled by a child process unless they are cached.

    The child ends with this process. If it fails, the first call of the kernel compiles it in this process.
    """
    is_compiler_on = os.environ.get("NUMBA_DISABLE_JIT", "0") in {"", "0"}
    if HAS_MACHINE_CODE and is_compiler_on and not COMPILES_HERE.is_set():
        with suppress(ObjectCodeError, OSError):
            return _read_machine_code()
        _compile_in_child()
        with suppress(ObjectCodeError, OSError):
            return _read_machine_code()
    from analytics.core.compiled import kernel  # noqa: PLC0415 - Numba takes 0.4 s and 110 MB to load

    if not (HAS_MACHINE_CODE or COMPILES_HERE.is_set() or _is_in_cache_of_numba(kernel)):
        _compile_in_child()
    return kernel


def is_machine_code_cached() -> bool:
    """Whether loading the kernel is a matter of milliseconds."""
    with suppress(OSError):
        return HAS_MACHINE_CODE and all(_find(name) is not None for name in ARGUMENTS)
    return False


def write_machine_code(object_files: dict[str, bytes]) -> None:
    """Write object files by the name of the function, each with its checksum, into the first folder possible.

    Raises
    ------
    OSError
        If no folder is writable.

    """
    digest = _digest()
    for folder in _folders():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in object_files.items():
                unfinished = folder / f"{name}-{digest}.{os.getpid()}"
                unfinished.write_bytes(sha256(content).digest() + content)
                unfinished.replace(folder / _file_name(name, digest))
            return
    raise OSError(f"none of {', '.join(map(str, _folders()))} is writable: set NUMBA_CACHE_DIR")


def _read_machine_code() -> MachineCodeKernel:
    object_files: dict[str, bytes] = {}
    for name in ARGUMENTS:
        path = _find(name)
        stored = b"" if path is None else _read_trusted(path)
        checksum, object_files[name] = stored[:CHECKSUM_BYTES], stored[CHECKSUM_BYTES:]
        if sha256(object_files[name]).digest() != checksum:
            raise ObjectCodeError(f"the machine code of {name} is not there, or damaged: compile it")
    return MachineCodeKernel(object_files)


def _read_trusted(path: Path) -> bytes:
    """Return the content of a file of this process's user, of the owner of this code, or of root.

    Raises
    ------
    ObjectCodeError
        If another user has made it: its machine code would have this process's rights.

    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_uid not in {0, os.geteuid(), SOURCE_FOLDER.stat().st_uid}:
            raise ObjectCodeError(f"{path} is of another user: set NUMBA_CACHE_DIR to a folder of your own")
        return file.read()


def _find(name: str) -> Path | None:
    file_name = _file_name(name, _digest())
    return next((one / file_name for one in _folders() if (one / file_name).exists()), None)


def _file_name(name: str, digest: str) -> str:
    return f"{name}-{digest}.o"


def _folders() -> Iterator[Path]:
    """Yield where the machine code may be, in the order of Numba's own cache."""
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(named)
        return
    yield SOURCE_FOLDER / "__pycache__"
    with suppress(RuntimeError):  # no home directory
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "towntwin"


def _digest() -> str:
    """Return a digest of all that determines the machine code: source, compiler, its settings, processor.

    `kernel.py` has a digest of the other sources.
    """
    digest = sha256(repr(ARGUMENTS).encode())
    for name in SOURCES:
        digest.update((SOURCE_FOLDER / name).read_bytes())
    for name in COMPILERS:
        spec = find_spec(name)
        digest.update(
            (Path(spec.origin).parent / "_version.py").read_bytes() if spec and spec.origin else b""
        )
    settings = {name: value for name, value in os.environ.items() if name.startswith("NUMBA_")}
    settings.pop("NUMBA_CACHE_DIR", None)
    digest.update(repr(sorted(settings.items())).encode())
    with CPUINFO.open() as file:
        lines = [one.partition(":") for one in file.read(CPUINFO_BYTES).splitlines()]
    processor = {name.strip(): value for name, _, value in reversed(lines)}  # the first of equal names stays
    digest.update(repr([processor.get(one) for one in CPU_LINES]).encode())
    return digest.hexdigest()[:16]


def _is_in_cache_of_numba(kernel: Any) -> bool:
    """Whether Numba's cache has the kernel as compiled from the present source by the present Numba."""
    cache = getattr(kernel.judge_block, "_cache", None)
    if cache is None:  # the compiler is switched off by NUMBA_DISABLE_JIT
        return True
    return bool(cache._cache_file._load_index())  # noqa: SLF001 - Numba has no public query of its cache


def _compile_in_child() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "analytics.core.compiled.compile_kernel"],
        cwd=IMPORT_FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # the caller meets the same error and reports it
    ) as child:
        try:
            child.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
