"""Compiles the kernel into its cache; `kernel_cache` runs it as a child process."""

from __future__ import annotations

import signal
import sys
import threading
from importlib import import_module
from typing import Any

import numpy as np

from analytics.core import judge
from analytics.core.compiled import kernel_cache
from analytics.core.compiled.machine_code import ARGUMENTS, ArrayKind

NUMBA_MODULES = ("numba", "numba.core.compiler", "numba.core.registry", "numba.core.types")


def _end_with_input() -> None:
    """End the process at once when its standard input is closed, as it is at the end of its parent."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as unbuffered:
        unbuffered.read()
    signal.raise_signal(signal.SIGTERM)


def compile_to_object_file(name: str) -> bytes:
    """Compile a function of the kernel with Numba; return its machine code as an object file.

    The code is that of Numba's own decorator with the options of `constants.entry_kernel`. The functions with
    which Python would call it are left out, as they refer to Numba's library.
    """
    numba, compiler, registry, types = map(import_module, NUMBA_MODULES)  # an extra, without types of its own
    kernel = import_module("analytics.core.compiled.kernel")

    def type_of(kind: Any) -> Any:
        if isinstance(kind, ArrayKind):
            return types.Array(numba.from_dtype(np.dtype(kind.elements)), kind.dimensions, "C")
        return types.Tuple([type_of(one) for one in kind])

    flags: Any = compiler.Flags()
    flags.nrt, flags.error_model = False, "numpy"
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    context = registry.cpu_target
    compiled = compiler.compile_extra(
        context.typing_context,
        context.target_context,
        getattr(kernel, name).py_func,
        [type_of(one) for one in ARGUMENTS[name]],
        return_type=None,
        flags=flags,
        locals={},
    )
    library: Any = compiled.library
    code: bytes = library.codegen._tm.emit_object(library._final_module)  # noqa: SLF001 - as Numba's cache does
    return code


def main() -> None:
    """Compile to object files on x86-64, and into Numba's cache elsewhere."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    kernel_cache.COMPILES_HERE.set()
    if kernel_cache.HAS_MACHINE_CODE:
        kernel_cache.write_machine_code({name: compile_to_object_file(name) for name in ARGUMENTS})
    else:
        judge.warm_up()


if __name__ == "__main__":
    main()
