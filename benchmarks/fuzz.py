"""Fuzzes ingest's decoder, resolver and judge, and the edge's decoders, and counts unexpected exceptions.

The first part generates 200,000 well-formed messages with invalid content, by
`tests.support.malformed_messages`, and counts the outcomes. The second, if atheris is installed, feeds
coverage-guided bytes to ingest, to the HJ 212 server (frames, segments, SM4, uploads) and to each decoder of
`tests.support.edge_decoders`, for five minutes each.
Set ``TOWNTWIN_BENCH_MESSAGES`` and ``TOWNTWIN_BENCH_FUZZ_S`` for more or less of either. With names of
targets (``python -m benchmarks fuzz sparkplug modbus``) only those are run, by coverage.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from edge.wire import receipts
from ingest_service.pipeline.decode import decode
from ingest_service.pipeline.device_clocks import DeviceClocks
from ingest_service.pipeline.series_resolver import SeriesResolver
from ingest_service.pipeline.shard_judge import ShardJudge
from tests.support import malformed_messages
from tests.support.edge_decoders import EDGE_DECODERS

MESSAGES = int(os.environ.get("TOWNTWIN_BENCH_MESSAGES", "200000"))
GUIDED_DURATION_S = int(os.environ.get("TOWNTWIN_BENCH_FUZZ_S", "300"))
BATCH = 50
PROGRESS_INTERVAL = 20_000
SEED = 15
TARGETS = ("ingest", "hj212", *EDGE_DECODERS)
REPOSITORY = Path(__file__).parents[1]


def run_structured(messages: int) -> Counter[str]:
    """Count the outcomes of ``messages`` messages; unexpected exceptions are named by their class."""
    source = random.Random(SEED)
    resolver, clocks = SeriesResolver(malformed_messages.DIRECTORY), DeviceClocks(tolerance_s=300)
    judge = ShardJudge(malformed_messages.DIRECTORY)
    outcomes: Counter[str] = Counter()
    for first in range(0, messages, BATCH):
        batch = [malformed_messages.message(source) for _ in range(min(BATCH, messages - first))]
        try:
            out = decode(batch, resolver, clocks, future_s=300)
            judged = judge.judge(out)
            outcomes["judge failed"] += judged.failed
            for one in batch:
                receipts.position_of(one.properties)
        except Exception as error:  # noqa: BLE001 - any exception here is a finding
            outcomes[f"escaped: {type(error).__name__}"] += 1
            print(f"\nescaped from messages {first} to {first + len(batch)}: {error!r}", flush=True)
            continue
        dead_letter_reasons = [one.reason for one in out.dead_letters]
        outcomes.update(f"dead letter: {reason}" for reason in dead_letter_reasons)
        outcomes["status"] += len(out.statuses)
        outcomes["messages with readings"] += len(set(out.message.tolist()))
        outcomes["readings"] += len(out.value)
        if (first + BATCH) % PROGRESS_INTERVAL == 0:
            print(
                f"  {first + BATCH:,} messages, {sum(map(is_escape, outcomes.elements()))} escapes",
                flush=True,
            )
    return outcomes


def is_escape(outcome: str) -> bool:
    """Return whether an outcome is an unexpected exception or a failure of the judge."""
    return outcome.startswith("escaped") or outcome == "judge failed"


def run_guided(target: str, seconds: int) -> str:
    """Run the coverage-guided fuzzer on a target in a separate process; return a sentence on its result."""
    if importlib.util.find_spec("atheris") is None:
        return "left out: atheris is not installed here (it has wheels for Linux on x86_64)"
    options = [f"-max_total_time={seconds}", "-max_len=4096", "-print_final_stats=1"]
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks._fuzz_target", target, *options],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    runs = [line.split()[-1] for line in found.stderr.splitlines() if "number_of_executed_units" in line]
    if found.returncode:
        print(found.stdout[-3000:], found.stderr[-3000:], sep="\n")
        return f"an escape, or a failure of atheris (exit code {found.returncode})"
    return f"{int(runs[0]) if runs else 0:,} inputs in {seconds} s, no escape"


def main() -> None:
    """Run both parts, or the targets that are named; print a table and a JSON line."""
    targets = sys.argv[2:]
    escapes = 0 if targets else run_generated()
    by_coverage: dict[str, str] = {}
    for target in targets or TARGETS:
        by_coverage[target] = run_guided(target, GUIDED_DURATION_S)
        print(f"guided by coverage: {target}: {by_coverage[target]}", flush=True)
    print(json.dumps({"escapes": escapes, "guided": by_coverage}))
    if escapes or any(one.startswith("an escape") for one in by_coverage.values()):
        sys.exit(1)


def run_generated() -> int:
    """Run the generated messages; print a table, and return the number of escapes."""
    begun_s = time.perf_counter()
    outcomes = run_structured(MESSAGES)
    took_s = time.perf_counter() - begun_s
    escapes = sum(count for outcome, count in outcomes.items() if is_escape(outcome))
    for outcome, count in outcomes.most_common():
        print(f"  {outcome:32} {count:>9,}")
    print(f"{MESSAGES:,} messages in {took_s:.0f} s, {escapes} escapes")
    print(json.dumps({"messages": MESSAGES, "escapes": escapes, "outcomes": outcomes}))
    return escapes
