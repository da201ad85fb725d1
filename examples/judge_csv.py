"""Posts the readings of a CSV file (columns time and value) to a gateway to be judged; nothing is stored.

KEY=tt_... python examples/judge_csv.py FILE.csv QUANTITY [GATEWAY]
"""

import os
import sys
from pathlib import Path

import httpx

FILE, QUANTITY = Path(sys.argv[1]), sys.argv[2]
GATEWAY = sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:8080"

response = httpx.post(
    f"{GATEWAY}/v1/judge",
    params={"quantity": QUANTITY},
    headers={"X-API-Key": os.environ["KEY"], "Content-Type": "text/csv"},
    content=FILE.read_bytes(),
    timeout=60,
)
if response.is_error:
    sys.exit(response.json()["detail"])
judged = response.json()
flagged = [reading for reading in judged["readings"] if reading["quality"] >= 3]
print(f"{len(judged['readings'])} readings, {len(flagged)} flagged, {len(judged['anomalies'])} anomalies")
for anomaly in judged["anomalies"]:
    print(anomaly["start"], anomaly["reason_en"])
