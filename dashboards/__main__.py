"""Write the dashboards' JSON and the provisioning files anew: ``python -m dashboards``."""

from __future__ import annotations

from dashboards.alerting.provisioning import provisioned
from dashboards.generate import FOLDER, files

for folder, made in ((FOLDER, files()), (FOLDER.parent / "provisioning", provisioned())):
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
