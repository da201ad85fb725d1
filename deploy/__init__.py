"""The `towntwin` command: configures and starts every process, the embedded servers and the demo towns."""

import os

# read by OpenBLAS as NumPy is imported, also in child processes: its threads spin while they wait for one
# another, and the platform's matrices are small (docs/decisions/0124)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
