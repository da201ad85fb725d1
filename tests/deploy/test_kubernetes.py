"""Tests Kubernetes' manifests without a cluster: by schema, by reference, beside `deploy/compose.yaml`.

`tests/deploy/test_compose.py` runs the processes with the environments of the compose file, which these have.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from deploy.box import kubernetes_files
from tests.support.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = REPOSITORY / "deploy/kubernetes"
COMPOSE = REPOSITORY / "deploy/compose.yaml"
VERSIONS = ("1.37", "1.29")
WORKLOADS = ("Deployment", "StatefulSet", "Job", "Pod")
MAX_OBJECT_BYTES = 1 << 20
ONLY_COMPOSE = {"prepare"}  # deploy.box.kubernetes_files does its work
OTHER_PATHS = {
    "PGDATA",  # the root of a volume is not empty
    "TOWNTWIN_HJ212_STATIONS",
}


def kustomized(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects that `kubectl kustomize` makes of a folder."""
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    present = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "admin.yaml"}
    assert set(content["resources"]) == present
    for name in content["resources"]:
        yield from yaml.safe_load_all((folder / name).read_text())
    for generator in content.get("configMapGenerator", ()):
        data = {name: (folder / name).read_text() for name in generator["files"]}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    admin = yaml.safe_load((FOLDER / "admin.yaml").read_text())
    return [
        *kustomized(FOLDER),
        *kustomized(FOLDER / "hj212"),
        *kustomized(FOLDER / "federate-receive"),
        *kustomized(FOLDER / "federate-send"),
        admin,
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Secrets and dashboards, from two runs with one folder."""
    origin = tmp_path_factory.mktemp("origin")
    texts = []
    for _ in range(2):
        assert kubernetes_files.main([str(origin), "twin.example.org"]) == 0
        texts.append((origin / kubernetes_files.FILE_NAME).read_text())
    assert texts[0] == texts[1], "a second run changes nothing"
    assert (origin / kubernetes_files.FILE_NAME).stat().st_mode & 0o077 == 0
    found: list[dict[str, Any]] = json.loads(texts[0])["items"]
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    content: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())
    return content["services"]


def key(one: dict[str, Any]) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pod template of each workload by its name."""
    return {
        one["metadata"]["name"]: one if one["kind"] == "Pod" else one["spec"]["template"]
        for one in objects
        if one["kind"] in WORKLOADS
    }


def main_container(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def environment(container: dict[str, Any], objects: list[dict[str, Any]]) -> dict[str, str]:
    by_key = {key(one): one for one in objects}
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        found |= by_key["ConfigMap", source["configMapRef"]["name"]]["data"]
    return found | {one["name"]: one["value"] for one in container.get("env", ())}


def test_every_object_is_as_the_schemas_of_old_and_new_versions_have_it(
    objects: list[dict[str, Any]], made: list[dict[str, Any]]
) -> None:
    for version, some in zip(VERSIONS, ([*objects, *made], objects), strict=True):
        for one in some:
            assert kubernetes_validate.validate(one, version, strict=True) == version
    wrong = json.loads(json.dumps(objects[-1]))
    wrong["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)
    everything = [*objects, *made]
    assert len({key(one) for one in everything}) == len(everything), "one name twice"
    assert all(len(json.dumps(one)) < MAX_OBJECT_BYTES for one in everything)


def test_the_same_processes_run_as_in_the_compose_file(
    objects: list[dict[str, Any]], services: dict[str, Any]
) -> None:
    found = pods(objects)
    assert found.keys() == services.keys() - ONLY_COMPOSE
    for name, pod in found.items():
        service, container = services[name], main_container(pod)
        assert container["image"] == service["image"], name
        user = pod["spec"]["securityContext"]
        assert f"{user['runAsUser']}:{user['runAsGroup']}" == service["user"]
        given = environment(container, objects)
        written = {
            variable: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
            for variable, value in service.get("environment", {}).items()
        }
        assert given.keys() - {"PGDATA"} == written.keys(), name
        assert {one for one in written if given[one] != written[one]} <= OTHER_PATHS, name
        assert {"cpu": cpu_of(container), "memory": memory_of(container)} == {
            "cpu": float(service["cpus"]),
            "memory": service["mem_limit"],
        }, name
        is_checked = not service.get("healthcheck", {"disable": True}).get("disable", False)
        probes = {"livenessProbe", "readinessProbe"} & container.keys()
        assert bool(probes) == is_checked, name
        if name != "admin":  # there: until the hour is over
            assert container.get("args") == service.get("command"), name


def cpu_of(container: dict[str, Any]) -> float:
    """Return the limit of a container [processors]."""
    limit = str(container["resources"]["limits"]["cpu"])
    return float(limit.removesuffix("m")) / 1000 if limit.endswith("m") else float(limit)


def memory_of(container: dict[str, Any]) -> str:
    """Return the limit of a container, as Compose writes it."""
    return str(container["resources"]["limits"]["memory"]).replace("Mi", "m").replace("Gi", "g")


def test_the_configurations_are_those_of_the_compose_file(objects: list[dict[str, Any]]) -> None:
    data = {name: text for one in objects if one["kind"] == "ConfigMap" for name, text in one["data"].items()}
    for path in (COMPOSE.parent / "compose").iterdir():
        if path.name != "stations.toml":
            assert data[path.name] == path.read_text(), path.name
    assert "stations.toml" in data


def test_every_reference_has_its_object(objects: list[dict[str, Any]], made: list[dict[str, Any]]) -> None:
    data_by_key = {key(one): one.get("data", {}) for one in [*objects, *made]}
    used = set()
    for name, pod in pods(objects).items():
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        claims = {
            claim["metadata"]["name"]
            for one in objects
            if one["metadata"]["name"] == name
            for claim in one["spec"].get("volumeClaimTemplates", ())
        }
        for container in [*pod["spec"].get("initContainers", ()), main_container(pod)]:
            assert {one["name"] for one in container["volumeMounts"]} <= volumes.keys() | claims, name
            paths = [one["mountPath"] for one in container["volumeMounts"]]
            assert len(set(paths)) == len(paths)
        for volume in volumes.values():
            for kind, target, items in sources(volume):
                used.add((kind, target))
                assert {one["key"] for one in items} <= data_by_key[kind, target].keys(), (name, target)
    secrets_and_dashboards = {key(one) for one in made}
    assert secrets_and_dashboards <= used, "made, but used by no pod"


def sources(volume: dict[str, Any]) -> Iterator[tuple[str, str, list[dict[str, str]]]]:
    """Yield kind, name and items of what a volume takes its files from."""
    for one in [volume, *volume.get("projected", {}).get("sources", ())]:
        if "secret" in one:
            secret = one["secret"]
            yield "Secret", secret.get("secretName") or secret["name"], secret.get("items", [])
        if "configMap" in one:
            yield "ConfigMap", one["configMap"]["name"], one["configMap"].get("items", [])


def test_every_file_of_a_pod_is_where_its_environment_has_it(
    objects: list[dict[str, Any]], made: list[dict[str, Any]]
) -> None:
    """A variable with a path below a mounted folder names a file of its Secret."""
    contents = {key(one): one["data"] for one in [*objects, *made] if one["kind"] in ("Secret", "ConfigMap")}
    checked = 0
    for name, pod in pods(objects).items():
        container = main_container(pod)
        files: set[str] = set()
        for mount in container["volumeMounts"]:
            volume: dict[str, Any] = next(
                (one for one in pod["spec"]["volumes"] if one["name"] == mount["name"]), {}
            )
            for kind, target, items in sources(volume):
                paths = [one["path"] for one in items] or list(contents[kind, target])
                files |= {f"{mount['mountPath']}/{path}" for path in paths}
        for variable, value in environment(container, objects).items():
            if value.startswith(("/etc/towntwin", "/volumes/grafana/")):
                assert any(one == value or one.startswith(f"{value}/") for one in files), (name, variable)
                checked += 1
    assert checked > len(pods(objects))
    files = {path for _, _, items in sources(grafana_volume(objects)) for path in (i["path"] for i in items)}
    datasource = contents["Secret", "grafana-files"]["datasources.towntwin.yaml"]
    assert "towntwin-grafana" in base64.b64decode(datasource).decode()
    provider = yaml.safe_load(
        base64.b64decode(contents["Secret", "grafana-files"]["dashboards.towntwin.yaml"])
    )
    folder = provider["providers"][0]["options"]["path"].removeprefix("/volumes/grafana/")
    boards = {
        *contents["ConfigMap", "grafana-dashboards-en"],
        *contents["ConfigMap", "grafana-dashboards-zh"],
    }
    assert {one for one in files if one.endswith(".json")} == {f"{folder}/{one}" for one in boards}


def grafana_volume(objects: list[dict[str, Any]]) -> dict[str, Any]:
    volumes = pods(objects)["grafana"]["spec"]["volumes"]
    found: dict[str, Any] = next(one for one in volumes if one["name"] == "provisioning")
    return found


def test_every_pod_is_confined_as_the_restricted_profile_has_it(objects: list[dict[str, Any]]) -> None:
    """Kubernetes' pod security standards; the namespace enforces them where there is a cluster."""
    for name, pod in pods(objects).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all({"secret", "configMap", "emptyDir", "projected"} & one.keys() for one in spec["volumes"])
        for container in [*spec.get("initContainers", ()), main_container(pod)]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    (namespace,) = [one for one in objects if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_services_policies_and_budgets_select_pods_that_exist(objects: list[dict[str, Any]]) -> None:
    found = pods(objects)
    for one in objects:
        if one["kind"] == "Service":
            pod = found[one["spec"]["selector"]["app.kubernetes.io/name"]]
            named = {port["name"]: port["containerPort"] for port in main_container(pod).get("ports", ())}
            for port in one["spec"].get("ports", ()):
                assert named[port["targetPort"]] == port["port"], key(one)
        if one["kind"] in ("Deployment", "StatefulSet"):
            labels = one["spec"]["selector"]["matchLabels"]
            assert labels.items() <= one["spec"]["template"]["metadata"]["labels"].items()
            if one["kind"] == "StatefulSet":
                assert ("Service", one["spec"]["serviceName"]) in {key(other) for other in objects}
        if one["kind"] in ("NetworkPolicy", "PodDisruptionBudget"):
            for labels in label_selectors(one["spec"]):
                chosen = [
                    pod for pod in found.values() if labels.items() <= pod["metadata"]["labels"].items()
                ]
                assert chosen, (key(one), labels)
    for name, pod in found.items():
        labels, text = pod["metadata"]["labels"], json.dumps(pod)
        given = environment(main_container(pod), objects)
        uses_broker = any("@broker:8883" in value for value in given.values())
        assert uses_broker == ("towntwin/uses-broker" in labels), name
        assert ("TOWNTWIN_DSN_FILE" in given or name == "grafana") == ("towntwin/uses-database" in labels), (
            name
        )
        assert "latest" not in text


def label_selectors(spec: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield the labels of every pod selector in a policy or budget, except those of all pods."""
    text = spec.get("selector", {}).get("matchLabels")
    if text:
        yield text
    peers = [peer for rule in spec.get("ingress", ()) for peer in rule.get("from", ())]
    peers += [peer for rule in spec.get("egress", ()) for peer in rule.get("to", ())]
    for one in [spec, *peers]:
        if labels := one.get("podSelector", {}).get("matchLabels"):
            yield labels
