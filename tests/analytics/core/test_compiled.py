"""Tests that compiled code and NumPy give equal flags and events, and values equal to one part in 100,000."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.core import checks, seasonal_limits
from analytics.core.compiled import (
    check_kernels,
    constants,
    detector_kernels,
    event_kernels,
    kernel,
    kernel_cache,
    prefetch,
    rarity_kernels,
)
from analytics.core.compiled.machine_code import MachineCodeKernel
from analytics.core.compiled.object_code import ObjectCodeError, load_function
from analytics.core.judge import Judgement, judge, warm_up
from analytics.core.parameters import PARAMETER_COLUMN, Parameters
from analytics.core.state import RECORD_COLUMN, SCALAR_COLUMN, SCALARS, State

REPOSITORY = Path(__file__).parents[3]
N_SERIES = 4
LIMITS = {
    "fail_low": -50.0,
    "fail_high": 150.0,
    "suspect_high": 120.0,
    "spike_suspect": 20.0,
    "spike_fail": 40.0,
    "rate_suspect_per_s": 1.0,
    "rate_fail_per_s": 2.0,
    "flat_suspect_s": 3600.0,
    "flat_fail_s": 7200.0,
    "flat_tolerance": 0.01,
    "spread_floor": 0.1,
    "spread_share": 0.01,
    "warm_up_s": 6 * 3600.0,
    "warm_up_step": 5.0,
    "shift_memory_s": 3600.0,
    "shift_least": 1.0,
    "attenuated_s": 1800.0,
    "attenuated_suspect": 0.05,
    "attenuated_fail": 0.01,
    "gap_suspect_s": 600.0,
    "gap_fail_s": 10_000.0,
    "adopt_s": 40_000.0,
    "day_offset_s": 28_800.0,
}


def history(seed: int, ticks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Everything that may go wrong in a series, by series and time."""
    random = np.random.default_rng(seed)
    series = np.repeat(np.arange(N_SERIES), ticks)
    step = random.choice([60.0, 300.0, 900.0, 20_000.0], series.shape, p=[0.1, 0.7, 0.19, 0.01])
    time_s = 1.7e9 + np.cumsum(step)
    value = 50 + 10 * np.sin(time_s / 86_400 * 2 * np.pi) + random.normal(0, 1, series.shape)
    value[random.random(series.shape) < 0.02] += 60
    value[random.random(series.shape) < 0.03] = np.nan
    value[random.random(series.shape) < 0.005] = random.choice([np.inf, -np.inf, 1e300, -1e200])
    value[ticks // 2 : ticks // 2 + ticks // 8] = 42.0
    value[3 * ticks + ticks // 2 :] += 12.0
    return series, time_s, value


def assert_same(one: Judgement, other: Judgement) -> None:
    for field in fields(Judgement):
        if field.name != "events":
            np.testing.assert_allclose(
                getattr(one, field.name), getattr(other, field.name), rtol=1e-5, atol=1e-5, err_msg=field.name
            )
    for field in fields(one.events):
        np.testing.assert_allclose(
            getattr(one.events, field.name), getattr(other.events, field.name), rtol=1e-5, err_msg=field.name
        )


def assert_same_state(one: State, other: State) -> None:
    for name, array in one.arrays().items():
        np.testing.assert_allclose(array, other.arrays()[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_the_compiler_is_there() -> None:
    assert constants.NUMBA_AVAILABLE, "the tests' requirements bring it"
    assert hasattr(kernel.judge_block, "signatures")


def test_arrays_that_are_not_aligned_are_judged() -> None:
    """Those of a message of Dask begin at any byte; the machine code refused them."""

    def not_aligned(array: np.ndarray) -> np.ndarray:
        memory = np.empty(array.nbytes + 1, np.uint8)[1:]
        memory[:] = np.frombuffer(array.tobytes(), np.uint8)
        return memory.view(array.dtype).reshape(array.shape)

    series, time_s, value = history(3, 50)
    parameters = Parameters.of(N_SERIES, **LIMITS)
    usual = judge(State.empty(N_SERIES), parameters, series, time_s, value)
    moved = replace(parameters, by_series=not_aligned(parameters.by_series))
    state = State(*map(not_aligned, State.empty(N_SERIES).arrays().values()))
    assert not state.scalars.flags.aligned
    assert_same(judge(state, moved, *map(not_aligned, (series, time_s, value))), usual)


def test_the_compiler_ends_with_its_parent_and_leaves_no_cache(tmp_path: Path) -> None:
    """A process that compiled kept the compiler's 200 MB to its end; a child compiles."""
    # another level of optimisation: the code is not what another test has compiled
    environ = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "1"}
    program = "from analytics.core.compiled import kernel_cache; print(kernel_cache.is_machine_code_cached())"
    shown = subprocess.run(
        [sys.executable, "-c", program], env=environ, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True
    )
    assert shown.stdout == b"False\n"
    command = [sys.executable, "-m", "analytics.core.compiled.compile_kernel"]
    with subprocess.Popen(command, env=environ, cwd=REPOSITORY, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(30) == -signal.SIGTERM
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]


def test_the_machine_code_that_is_cached_is_used_and_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numba and LLVM, which nothing but loading needs, were 44 MB of ingest, and 115 MB of its peak."""
    warm_up()
    assert isinstance(kernel_cache.load_kernel(), MachineCodeKernel) == kernel_cache.HAS_MACHINE_CODE
    if not kernel_cache.HAS_MACHINE_CODE:
        return
    object_file = next(iter(kernel_cache._folders())) / kernel_cache._file_name(
        "judge_block", kernel_cache._digest()
    )
    stored = object_file.read_bytes()[kernel_cache.CHECKSUM_BYTES :]
    for damaged, reason in (
        (b"", "damaged"),
        (stored[:3000], "damaged"),
        (b"\x7fELF" + bytes(100), "no object file"),
        (stored.replace(b"\0log10\0", b"\0lag10\0"), "lag10"),
    ):
        with pytest.raises(ObjectCodeError, match=reason):
            load_function(damaged)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    kernel_cache.write_machine_code({"is_in_order": stored, "judge_block": stored})
    assert kernel_cache.is_machine_code_cached()
    if os.geteuid() == 0:
        for path in tmp_path.iterdir():
            os.chown(path, 65_534, -1)
        with pytest.raises(ObjectCodeError, match="of another user"):
            kernel_cache._read_machine_code()
        kernel_cache.write_machine_code({"is_in_order": stored, "judge_block": stored})
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ObjectCodeError, match="damaged"):
        kernel_cache._read_machine_code()


def test_a_hardened_unit_finds_the_machine_code() -> None:
    """Units have `ProcSubset=pid`, without /proc/cpuinfo: each start compiled for half a minute."""
    warm_up()
    program = "from analytics.core.compiled import kernel_cache; print(kernel_cache.is_machine_code_cached())"
    script = f"mount -t proc -o subset=pid proc /proc && exec {sys.executable} -c '{program}'"
    shown = subprocess.run(
        ["/usr/bin/unshare", "--mount", "--pid", "--fork", "sh", "-c", script],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == f"{kernel_cache.HAS_MACHINE_CODE}\n"


def test_without_a_known_processor_no_machine_code_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machine code of another processor would end the process."""
    for one in ("MODALIAS", "CPUINFO"):
        monkeypatch.setattr(kernel_cache, one, Path("/nowhere"))
    assert not kernel_cache.uses_machine_code()
    assert not kernel_cache.is_machine_code_cached()


def test_arrays_for_which_the_machine_code_is_not_made_are_refused() -> None:
    """It would read and write elsewhere; Numba would compile another version."""
    if kernel_cache.HAS_MACHINE_CODE:
        loaded = kernel_cache.load_kernel()
        series, time_s, scalars = np.zeros(2, np.intp), np.zeros(2), np.zeros((1, 90))
        for wrong in (time_s.astype(np.float32), np.zeros(4)[::2], np.zeros((2, 1)), series):
            with pytest.raises(TypeError, match="the kernel takes"):
                loaded.is_in_order(series, wrong, scalars)


def test_read_only_and_strided_readings_need_no_further_version() -> None:
    """A posted Parquet file, whose times are read-only, was answered after half a minute of compiling."""
    series, time_s, value = np.zeros(40, np.intp), np.linspace(0, 11_700, 40), np.zeros(80)[::2]
    judged = judge(State.empty(1), Parameters.of(1), series, time_s, value.copy(), use_compiled=True)
    series.flags.writeable = time_s.flags.writeable = False
    again = judge(State.empty(1), Parameters.of(1), series, time_s, value, use_compiled=True)
    assert_same(judged, again)


def test_the_names_that_the_compiler_freezes_are_those_of_the_state() -> None:
    for name, row in [*SCALAR_COLUMN.items(), *RECORD_COLUMN.items()]:
        assert getattr(constants, name.upper()) == row
    assert len(SCALARS) == len(SCALAR_COLUMN)
    for name, row in PARAMETER_COLUMN.items():
        short = name.upper().removesuffix("_S").removesuffix("_DAYS").removesuffix("_PER")
        assert getattr(constants, short) == row


def seasonal(names: dict[str, float], n_series: int = N_SERIES) -> Parameters:
    """Limits by month and hour for all series but the last one."""
    return Parameters.of(n_series, **LIMITS).with_seasonal(dict.fromkeys(range(n_series - 1), names))


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-4e9, 8e9), st.integers(-14, 14), st.sampled_from(["6-8", "11-2/22-3", "2", "1-12/0-5", "3/23"])
)
def test_limits_by_month_and_hour_are_those_of_the_block_check(
    start_s: float, zone_h: int, when: str
) -> None:
    """Month and hour are those of the calendar, before 1970 and in leap years."""
    time_s = start_s + np.arange(60) * 50_000.0
    values = np.tile([10.0, 30.0, 50.0], 20)
    names = {f"suspect_high@{when}": 20.0, f"fail_high@{when}": 40.0}
    parameters = Parameters.of(
        1, warm_up_s=1e12, shift_least=np.nan, day_offset_s=zone_h * 3600.0
    ).with_seasonal({0: names})
    months, hours = seasonal_limits.parse_name(f"suspect_high@{when}")[1:]
    expected = checks.climatology(
        values,
        time_s,
        checks.ClimatologyLimits(*parameters.seasonal[0]),
        offset_s=zone_h * 3600.0,
    )
    local = np.floor(time_s + zone_h * 3600.0).astype("datetime64[s]")
    month = np.array([int(str(one)[5:7]) for one in local.astype("datetime64[M]")]) - 1
    hour = np.array([int(str(one)[11:13]) for one in local])
    inside = np.isin(month, months) & np.isin(hour, hours)
    assert ((expected >= 3) == (inside & (values > 20))).all()
    for use_compiled in (True, False):
        found = judge(
            State.empty(1),
            parameters,
            np.zeros(60, np.intp),
            time_s.astype(np.float64),
            values,
            use_compiled=use_compiled,
        )
        assert (np.where(expected >= 3, expected, 2) == found.quality).all()


def test_the_compilers_cache_knows_what_is_compiled_in() -> None:
    """Numba looks at the content of `kernel.py` alone; a stale cache would judge by old constants."""
    parts = [
        Path(module.__file__ or "").read_text("utf-8")
        for module in (constants, check_kernels, detector_kernels, event_kernels, prefetch, rarity_kernels)
    ]
    for name, value in sorted(vars(constants).items()):
        if name.isupper() and isinstance(value, int | float | tuple | np.ndarray):
            parts.append(" ".join([name, *(f"{one:.9g}" for one in np.ravel(value))]))
    digest = sha256("\n".join(parts).encode()).hexdigest()[:16]
    assert digest == kernel.INLINED_CODE_DIGEST, (
        f"set INLINED_CODE_DIGEST in analytics/core/compiled/kernel.py to {digest}"
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_long_history(seed: int) -> None:
    states = [State.empty(N_SERIES), State.empty(N_SERIES)]
    parameters = Parameters.of(N_SERIES, **LIMITS)
    one, other = (
        judge(state, parameters, *history(seed, 3000), use_compiled=use_compiled)
        for state, use_compiled in zip(states, (True, False), strict=True)
    )
    assert_same(one, other)
    assert len(one.events.series) > 6  # an event may pause for up to a day
    assert len(one.revised_series) > 20
    assert_same_state(*states)


def test_a_long_history_with_limits_by_month_and_hour() -> None:
    states = [State.empty(N_SERIES), State.empty(N_SERIES)]
    parameters = seasonal({"suspect_high@11-2/22-5": 52.0, "fail_low@1-12/10-13": 45.0})
    one, other = (
        judge(state, parameters, *history(1, 3000), use_compiled=use_compiled)
        for state, use_compiled in zip(states, (True, False), strict=True)
    )
    assert_same(one, other)
    assert_same_state(*states)
    plain = judge(State.empty(N_SERIES), Parameters.of(N_SERIES, **LIMITS), *history(1, 3000))
    assert ((one.rules & 1) > (plain.rules & 1)).sum() > 100


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 79), max_size=4, unique=True))
def test_any_history_in_any_blocks(seed: int, cuts: list[int]) -> None:
    series, time_s, value = history(seed, 80)
    tick = np.tile(np.arange(80), N_SERIES)
    parameters = Parameters.of(N_SERIES, **LIMITS)
    states = [State.empty(N_SERIES), State.empty(N_SERIES)]
    use_compiled = bool(seed % 2)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 80], strict=True):
        part = (tick >= begin) & (tick < end)
        results = [
            judge(states[0], parameters, series[part], time_s[part], value[part], use_compiled=use_compiled),
            judge(states[1], parameters, series[part], time_s[part], value[part], use_compiled=False),
        ]
        assert_same(*results)
        use_compiled = not use_compiled
    assert_same_state(*states)
