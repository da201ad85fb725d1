"""Tests `towntwin backtest`: planted faults from CSV, Parquet or the database, on threads or a cluster."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from analytics.core.flags import Flag
from deploy.__main__ import main
from deploy.backtest import labels, series_plot
from deploy.settings import SettingsError
from ingest_service.pipeline.decode import DecodedBatch
from ingest_service.pipeline.shard_judge import ShardJudge
from ingest_service.storage.contract.batch import Batch
from ingest_service.storage.contract.models import AnomalyQuery, Area, Directory, Series, Site
from ingest_service.storage.postgres.migrate import migrate
from ingest_service.storage.postgres.store import PostgresStore
from tests.support.audit_entries import audited_actions

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STEP_S, DAYS = 900.0, 9
N = round(DAYS * 86_400 / STEP_S)
FAULT = slice(round(7.5 * 96), round(7.5 * 96) + 12)  # three hours in the eighth day
MAPPING = """
[time]
column = "when"
[[column]]
match = "do"
quantity = "dissolved_oxygen"
unit = "mg/L"
[[column]]
match = "ph"
quantity = "ph"
unit = "pH"
"""
SHADED = 0.02  # how near a colour is to count as it


def values() -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    random = np.random.default_rng(4)
    day = 2 * np.pi * np.arange(N) * STEP_S / 86_400
    oxygen = 8 + np.sin(day) + random.normal(0, 0.05, N)
    oxygen[FAULT] -= 4
    return {
        "do": np.round(oxygen, 3),
        "ph": np.round(7.5 + 0.2 * np.sin(day) + random.normal(0, 0.01, N), 3),
    }


def moment(place: int) -> datetime:
    return BEGIN + timedelta(seconds=place * STEP_S)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With river.csv, its mapping, and labels: the fault, one that is not there, one long after."""
    columns = values()
    with (tmp_path / "river.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["when", *columns])
        writer.writerows(
            [moment(i).isoformat(), *(column[i] for column in columns.values())] for i in range(N)
        )
    (tmp_path / "mapping.toml").write_text(MAPPING)
    spans = [(FAULT.start, FAULT.stop - 1), (200, 210), (2 * N, 2 * N + 1)]
    lines = [
        f"river,dissolved_oxygen,{moment(a):%Y-%m-%d %H:%M},{moment(b):%Y-%m-%d %H:%M}" for a, b in spans
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["site,quantity,start,end", *lines]))
    return tmp_path


def backtest(folder: Path, *more: str, file: str = "river.csv", out: str = "out") -> list[str]:
    given = [str(folder / file), "--mapping", str(folder / "mapping.toml"), "--out", str(folder / out)]
    return ["backtest", *given, *more]


def anomalies(folder: Path, out: str = "out") -> list[dict[str, str]]:
    with (folder / out / "anomalies.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def flags(folder: Path, out: str = "out") -> pa.Table:
    return pq.read_table(folder / out / "flags.parquet")


def test_a_planted_fault_is_found_flagged_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(backtest(folder, "--labels", str(folder / "labels.csv"))) == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # no bar on a pipe
    summary = json.loads(captured.out.splitlines()[-1])
    assert summary == json.loads((folder / "out/summary.json").read_text())
    (found,) = anomalies(folder)
    assert (found["series"], found["detector"]) == ("river/dissolved_oxygen", "rate_of_change")
    assert found["start"] == moment(FAULT.start).isoformat()
    assert "by a step that is rare for this series" in found["reason_en"]
    assert "罕见" in found["reason_zh"]
    rows = flags(folder).to_pylist()
    assert len(rows) == summary["readings"] == 2 * N
    at_fault = [row for row in rows if row["series"] == "river/dissolved_oxygen"][FAULT]
    assert {row["flag"] for row in at_fault} == {Flag.SUSPECT}
    assert all("residual" in row["rules"].split("+") for row in at_fault)
    assert (summary["series"], summary["anomalies"], summary["labels"]) == (2, 1, 2)
    assert summary["by_event"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3, abs=1e-6)}
    assert summary["by_reading"]["recall"] == pytest.approx(12 / 23, abs=1e-6)
    assert (summary["false_alarms"], summary["delay_median_s"]) == (0, 0.0)
    assert summary["false_alarms_per_series_month"] == 0


def test_limits_can_be_chosen_and_a_stretch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blind = [f"--set={name}=nan" for name in ("score_close", "score_weak", "score_strong", "novelty_least")]
    assert main(backtest(folder, *blind, "--set=step_deviations=nan", "--set=fail_low=3.5")) == 0
    assert {one["detector"] for one in anomalies(folder)} == {"gross_range"}
    assert main(backtest(folder, "--quantity", "ph", "--from", "2026-01-03", "--to", "2026-01-04")) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["readings"] == 96
    assert set(flags(folder)["series"].to_pylist()) == {"river/ph"}


def test_parquet_is_judged_as_csv_is(folder: Path) -> None:
    pq.write_table(pcsv.read_csv(folder / "river.csv"), folder / "river.parquet")
    assert main(backtest(folder)) == 0
    assert main(backtest(folder, file="river.parquet", out="other")) == 0
    assert anomalies(folder) == anomalies(folder, "other")
    assert flags(folder).equals(flags(folder, "other"))


def test_a_picture_shows_values_anomaly_and_label(folder: Path) -> None:
    assert main(backtest(folder, "--labels", str(folder / "labels.csv"), "--plot", "--max-plots", "1")) == 0
    (drawn,) = (folder / "out").glob("*.png")
    assert drawn.name == "river.dissolved_oxygen.png"
    pixels = imread(drawn)[..., :3]
    shade = [
        series_plot.ANOMALY_ALPHA * part + 1 - series_plot.ANOMALY_ALPHA
        for part in to_rgb(series_plot.ANOMALY)
    ]
    for color in (to_rgb(series_plot.VALUES), to_rgb(series_plot.SUSPECT), shade, to_rgb(series_plot.LABEL)):
        assert (np.abs(pixels - np.array(color)).max(axis=2) < SHADED).sum() > 20, color


def test_a_cluster_returns_what_threads_return(folder: Path) -> None:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tcp://127.0.0.1:")
        assert main(backtest(folder, "--cluster", address, out="cluster")) == 0
    assert main(backtest(folder)) == 0
    assert anomalies(folder) == anomalies(folder, "cluster")
    assert flags(folder).equals(flags(folder, "cluster"))


def test_a_cluster_without_workers_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analytics.service.parallel.CONNECT_S", 0.5)
    with LocalCluster(
        n_workers=0, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        assert main(backtest(folder, "--cluster", cluster.scheduler_address)) == 2
    assert "has no worker: start one" in capsys.readouterr().err


def test_the_database_is_judged_as_it_was_when_it_was_filled(timescale_dsn: str, tmp_path: Path) -> None:
    migrate(timescale_dsn)
    store = PostgresStore.open(timescale_dsn)
    try:
        live = fill(store)
        time_arguments = ["--site", "river", "--from", "2026-01-01T00:00Z", "--to", "2026-02-01T00:00Z"]
        assert (
            main(["backtest", *time_arguments, "--dsn", timescale_dsn, "--out", str(tmp_path / "out")]) == 0
        )
        target = f"site=river from=2026-01-01T00:00Z to=2026-02-01T00:00Z out={tmp_path / 'out'}"
        assert audited_actions(store, "backtest") == [("backtest", target)]
    finally:
        store.close()
    assert [(one["detector"], one["start"], one["reason_en"]) for one in anomalies(tmp_path)] == live


def test_a_site_that_is_not_enrolled_is_named(plain_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    migrate(plain_dsn)
    time_arguments = ["--site", "lake", "--from", "2026-01-01", "--to", "2026-02-01"]
    assert main(["backtest", *time_arguments, "--dsn", plain_dsn]) == 2
    assert "--site lake: there is no such site; there are none" in capsys.readouterr().err


def fill(store: PostgresStore) -> list[tuple[str, str, str]]:
    """Judge and store as the pipeline would; returns what it found."""
    area = Area(area_id="t", level="town", en="t", zh="t")
    site = Site(site_id="river", area_id="t", kind="river_section", en="r", zh="r", lon=0, lat=0)
    series = [Series(site_id="river", quantity=one, interval_s=STEP_S) for one in ("dissolved_oxygen", "ph")]
    known = store.enrol(Directory(areas=[area], sites=[site], series=series))
    ids = {one.quantity: one.series_id for one in known.series}
    time_s = np.tile(BEGIN.timestamp() + STEP_S * np.arange(N), 2)
    decoded = DecodedBatch(
        message=np.zeros(2 * N, np.intp),
        series_id=np.repeat([ids["dissolved_oxygen"], ids["ph"]], N).astype(np.int32),
        time_s=time_s,
        received_s=time_s,
        value=np.concatenate(list(values().values())),
        has_wrong_clock=np.zeros(2 * N, bool),
        declared_quality=np.zeros(2 * N, np.uint8),
        dead_letters=[],
        statuses=[],
    )
    judged = ShardJudge(known).judge(decoded)
    store.commit(
        Batch(
            fresh=judged.fresh,
            doubtful=judged.doubtful,
            revisions=judged.revisions,
            anomalies=judged.anomalies,
        )
    )
    return [
        (one.detector, datetime.fromtimestamp(one.start_s, UTC).isoformat(), one.reason_en)
        for one in store.anomalies(AnomalyQuery())
    ]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--set", "sensitivity=5"], "there is no limit 'sensitivity': there are alarms_per_month, fail_low"),
        (["--set", "score_stong=9"], "there is no limit 'score_stong' (did you mean 'score_strong'?)"),
        (["--set", "score_strong"], "write LIMIT=NUMBER"),
        (["--set", "score_strong=high"], "write LIMIT=NUMBER"),
        (["--set", "score_weak=9"], "river/dissolved_oxygen: score_weak 9 is above score_strong 8"),
        (["--quantity", "taste"], "--quantity: there is no 'taste'"),
        (["--from", "spring"], "--from 'spring' is no time"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "--to 2026-01-01 is not after --from 2026-01-02"),
        (["--from", "2030-01-01"], "no reading is left to judge"),
        (["--site", "lake"], "no reading is left to judge"),
        (["--labels", "nowhere.csv"], "labels nowhere.csv: No such file"),
        (["--cluster", "tcp://127.0.0.1:1"], "--cluster: no Dask scheduler answers at tcp://127.0.0.1:1"),
        (["--mapping", "nowhere.toml"], "mapping nowhere.toml"),
        (["--out", "/dev/null"], "--out /dev/null: File exists"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_two(
    more: list[str],
    named: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("analytics.service.parallel.CONNECT_S", 0.5)
    assert main(backtest(folder, *more)) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert named in sentence


@pytest.mark.parametrize(
    ("given", "named"), [(["a.csv"], "--mapping"), ([], "--site"), (["--site", "x"], "--from and --to")]
)
def test_what_is_judged_must_be_named(
    given: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backtest", *given]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("site,when\n", "must name the columns start and end"),
        ("", "must name the columns start and end"),
        ("start,end\n2026-01-01,soon\n", "line 2: end 'soon' is no time"),
        ("start,end\n2026-01-01\n", "line 2: end '' is no time"),
        ("start,end\n2026-01-02,2026-01-01\n", "line 2: it ends at 2026-01-01, before it starts"),
        ("quantity,start,end\ntaste,2026-01-01,2026-01-02\n", "line 2: there is no quantity 'taste'"),
    ],
)
def test_labels_that_cannot_be_read_are_named(text: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(SettingsError, match=named):
        labels.read_labels(path, ZoneInfo("UTC"))


def test_a_label_without_site_or_quantity_speaks_of_all_in_local_time(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("quantity,start,end\n,2026-01-01 08:00,2026-01-01 09:00\n")
    (label,) = labels.read_labels(path, ZoneInfo("Asia/Shanghai"))
    assert (label.start_s, label.end_s) == (BEGIN.timestamp(), BEGIN.timestamp() + 3600)
    assert label.applies_to(Series(site_id="any", quantity="ph"))
