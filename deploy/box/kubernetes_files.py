"""Makes the secrets and Grafana's files of `deploy/kubernetes` as one file for `kubectl apply`.

``python -m deploy.box.kubernetes_files ORIGIN HOSTS...`` writes ``ORIGIN/kubernetes.json``.

Every pod gets a Secret of its own with the files that its container has in `deploy/compose.yaml`. What
exists in the folder is kept: a second run with it changes nothing.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboards.alerting.alert_rules import FOLDER
from dashboards.generate import dashboard_files
from dashboards.grafana_versions import COMMON_FEATURES
from dashboards.provisioning_files import stack_files
from deploy.box.container_files import FOLDERS, USAGE_ERROR, folder_contents, grafana_settings, prepare_origin
from deploy.device_access.certificate_authority import CertificateError, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMESPACE = "towntwin"
FILE_NAME = "kubernetes.json"
PROVISIONING = "/volumes/grafana"


def main(argv: list[str] | None = None) -> int:
    """Write the file and print its name; return 2 for a folder that can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.box.kubernetes_files", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("origin", type=Path, help="folder of all secrets: keep it, and away from the cluster")
    parser.add_argument("hosts", nargs="+", help="names and addresses by which devices reach the broker")
    args = parser.parse_args(argv)
    target = args.origin / FILE_NAME
    try:
        prepare_origin(args.origin, args.hosts)
        content = {"apiVersion": "v1", "kind": "List", "items": kubernetes_objects(args.origin)}
        target.unlink(missing_ok=True)
        write_private(target, json.dumps(content).encode())
    except (CertificateError, OSError) as error:
        print(f"towntwin: {error}", file=sys.stderr)
        return USAGE_ERROR
    print(f"{target}: kubectl apply --server-side -f {target}, then delete it")
    return 0


def kubernetes_objects(origin: Path) -> list[dict[str, Any]]:
    """Return the Secrets of all pods and the ConfigMaps of Grafana's dashboards.

    A path within a pod's folder is a key with dots for slashes; the manifests have the paths.

    Parameters
    ----------
    origin : folder of all secrets, as `deploy.box.container_files.prepare_origin` makes it

    Raises
    ------
    OSError
        If a file can't be read.

    """
    settings = grafana_settings(origin)
    objects = []
    for folder in FOLDERS:
        contents = folder_contents(folder, origin)
        if folder == "grafana":
            files = stack_files(settings, COMMON_FEATURES, f"{PROVISIONING}/dashboards/{FOLDER}")
            contents |= {name: text.encode() for name, text in files.items()}
        objects.append(_secret(folder if folder == "broker-data" else f"{folder}-files", contents))
    texts = dashboard_files(settings)
    for language in ("en", "zh"):  # apart, as an object holds a mebibyte at most
        data = {name: text for name, text in texts.items() if name.endswith(f".{language}.json")}
        objects.append(_object("ConfigMap", f"grafana-dashboards-{language}", data))
    return objects


def _secret(name: str, contents: Mapping[str, bytes]) -> dict[str, Any]:
    data = {path.replace("/", "."): base64.b64encode(one).decode() for path, one in contents.items()}
    return {**_object("Secret", name, data), "type": "Opaque"}


def _object(kind: str, name: str, data: dict[str, str]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": NAMESPACE}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}


if __name__ == "__main__":
    sys.exit(main())
