"""Write the dashboards' JSON anew: ``python -m dashboards``."""

from __future__ import annotations

from dashboards.generate import FOLDER, files

for name, text in files().items():
    (FOLDER / name).write_text(text, "utf-8")
