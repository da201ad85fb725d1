"""From an anomaly of the river to its source and its arrival downstream; draws source.png and arrival.png.

KEY=tt_... python examples/anomaly_to_arrival.py [GATEWAY] [AREA] [FOLDER]

The marks ``# %%`` divide it into cells for editors that run Python files as notebooks.
"""

# %% The gateway
import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.dates import DateFormatter

from towntwin.client import Client

GATEWAY = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
AREA = sys.argv[2] if len(sys.argv) > 2 else "330483"
FOLDER = Path(sys.argv[3] if len(sys.argv) > 3 else ".")
town = Client(GATEWAY, key=os.environ["KEY"])

# %% The anomaly: the gravest one of the area from which a source can be inferred
TRACED = ["ammonia_nitrogen", "permanganate_index", "total_nitrogen", "total_phosphorus"]
found = town.anomalies(area=AREA, severity_min=2)
found = found[found["quantity"].isin(TRACED)].sort_values("score", ascending=False)
for _, anomaly in found.iterrows():
    posterior = town.trace(int(anomaly["anomaly_id"]), posterior=True)["posterior"]
    if posterior is not None and posterior["arrivals"]:
        break
else:
    sys.exit(f"no anomaly of area {AREA} is of a traced quantity, on a river and downstream of an outfall")
print(f"{anomaly['start']:%Y-%m-%d %H:%M} {anomaly['site_id']}: {anomaly['reason_en']}")

# %% The source: probability of each outfall and inflow upstream, and when the release began
sources = pd.DataFrame(posterior["candidates"])
for column in ("released_from", "released", "released_to"):
    sources[column] = pd.to_datetime(sources[column])
print(
    f"\n{posterior['n_detects']} detects, {posterior['n_non_detects']} non-detects at {posterior['sensors']}"
)
print(
    sources[["node_id", "en", "probability", "released_from", "released_to", "group"]].to_string(index=False)
)
print(f"90 % of the probability: {', '.join(posterior['credible_90'])}")
if posterior["extra_sample"] is not None:
    sample = posterior["extra_sample"]
    print(f"one more sample separates them best at {sample['node_id']} at {sample['time']}")

# %% The arrival: median and band of 80 % at each site downstream
arrivals = pd.DataFrame(posterior["arrivals"])
for column in ("arrival_from", "arrival", "arrival_to", "peak"):
    arrivals[column] = pd.to_datetime(arrivals[column])
shown = ["site_id", "en", "probability", "arrival_from", "arrival", "arrival_to", "peak", "peak_mg_l"]
print("\n" + arrivals[shown].to_string(index=False))

# %% Picture of the source: probabilities, and the readings with the time of the release
zone = "Asia/Shanghai"
likely, quantity = sources.iloc[0], posterior["quantity"]
begin = likely["released_from"] - pd.Timedelta("3h")
end = anomaly["start"] + pd.Timedelta("6h")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=[2, 3], layout="constrained")
top = sources.head(6).iloc[::-1]
bars = left.barh(top["en"], top["probability"], color="tab:blue")
left.bar_label(bars, fmt="%.2f", padding=3)
left.set(xlabel="probability", xlim=(0, 1.25), title="source")
readings = town.readings(site=anomaly["site_id"], quantity=quantity, from_=begin, to=end)
times = readings["measured"].dt.tz_convert(zone)
right.plot(times, readings["value"], color="tab:blue", label="measured")
right.plot(times, readings["expected"], color="tab:green", label="expected")
right.axvspan(
    likely["released_from"].tz_convert(zone),
    likely["released_to"].tz_convert(zone),
    color="tab:red",
    alpha=0.2,
    lw=0,
    label="release begins (90 %)",
)
right.axvline(anomaly["start"].tz_convert(zone), color="tab:red", lw=1, label="anomaly begins")
right.set(ylabel=f"{quantity} [mg/L]", title=anomaly["site_id"])
right.legend(fontsize=8, loc="upper left")
right.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=zone))
figure.savefig(FOLDER / "source.png", dpi=110)

# %% Picture of the arrival: forecast at the nearest sites, with what has been measured there since
nearest = arrivals.head(5)
last = nearest["arrival_to"].max() + pd.Timedelta("3h")
figure, rows = plt.subplots(
    len(nearest), 1, figsize=(9, 1.3 * len(nearest) + 1), sharex=True, squeeze=False, layout="constrained"
)
for axes, (_, one) in zip(rows[:, 0], nearest.iterrows(), strict=True):
    band = [one[column].tz_convert(zone) for column in ("arrival_from", "arrival_to")]
    axes.axvspan(*band, color="tab:orange", alpha=0.3, lw=0, label="arrival (80 %)")
    axes.axvline(one["arrival"].tz_convert(zone), color="tab:orange", label="median")
    readings = town.readings(site=one["site_id"], quantity=quantity, from_=begin, to=last)
    axes.plot(readings["measured"].dt.tz_convert(zone), readings["value"], color="tab:blue", label="measured")
    axes.axvline(end.tz_convert(zone), color="0.5", ls=":", label="last reading of the trace")
    axes.set_title(f"{one['en']} ({one['site_id']})", fontsize=9, loc="left")
    axes.set_ylabel("[mg/L]", fontsize=8)
axes.xaxis.set_major_formatter(DateFormatter("%d %H:%M", tz=zone))
figure.legend(*axes.get_legend_handles_labels(), fontsize=8, ncols=4, loc="outside lower center")
figure.suptitle(f"{quantity} of {likely['en']}", fontsize=10)
figure.savefig(FOLDER / "arrival.png", dpi=110)
town.close()
