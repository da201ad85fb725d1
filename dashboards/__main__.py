"""Regenerates the committed dashboard JSON and provisioning files: ``python -m dashboards``."""

from __future__ import annotations

from dashboards.generate import FOLDER, dashboard_files
from dashboards.provisioning_files import provisioning_files

for folder, texts in ((FOLDER, dashboard_files()), (FOLDER.parent / "provisioning", provisioning_files())):
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
