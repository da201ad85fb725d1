"""Loads the anomalies of an area into a pandas DataFrame; prints counts by quantity and the five gravest.

KEY=tt_... python examples/anomalies_to_pandas.py [GATEWAY] [AREA]
"""

import os
import sys

from towntwin.client import Client

GATEWAY = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
AREA = sys.argv[2] if len(sys.argv) > 2 else "330400"

with Client(GATEWAY, key=os.environ["KEY"]) as client:
    anomalies = client.anomalies(area=AREA, severity_min=2)

print(anomalies.groupby("quantity").size().sort_values(ascending=False).to_string())
gravest = anomalies.sort_values("score", ascending=False).head(5)
print(gravest[["start", "site_id", "quantity", "score", "reason_en"]].to_string(index=False))
