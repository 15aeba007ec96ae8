"""The example of the pods as a user runs it, and the manifest for people to adapt."""

from __future__ import annotations

import re

import pytest
import yaml
from pages import EXAMPLES, python
from servers import Server

#: Every object of the manifest, by kind and name.
KINDS = [
    ("Secret", "model-access"),
    ("Deployment", "agents"),
    ("Service", "agents"),
    ("StatefulSet", "quota-store"),
    ("Service", "quota-store"),
]


def test_the_pods_use_all_of_one_quota_and_no_more(provider, store):
    done = python(EXAMPLES / "pods.py", store, provider=provider)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    *pods, total = done.stdout.splitlines()
    answers = {name: int(count) for name, count in re.findall(r"(pod-\d): (\d+) answers in", "\n".join(pods))}
    assert (len(pods), sum(answers.values())) == (6, 120)
    answered, refused = map(int, re.findall(r"\d+", total.replace("with a 429", "")))
    assert answered == 120
    # Pods that start on a busy machine take longer for their first calls than is held back for that.
    assert refused <= 5


@pytest.fixture(scope="module")
def manifest():
    documents = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8")))
    assert [(each["kind"], each["metadata"]["name"]) for each in documents] == KINDS
    return dict(zip(KINDS, documents, strict=True))


def test_what_the_manifest_names_is_in_it(manifest):
    secrets = manifest["Secret", "model-access"]["stringData"]
    for kind, name in (("Deployment", "agents"), ("StatefulSet", "quota-store")):
        spec = manifest[kind, name]["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == labels
        assert manifest["Service", name]["spec"]["selector"] == labels
        (container,) = spec["template"]["spec"]["containers"]
        for variable in container["env"]:
            of = variable["valueFrom"]["secretKeyRef"]
            assert (of["name"], of["key"] in secrets) == ("model-access", True)
        (port,) = manifest["Service", name]["spec"]["ports"]
        assert port.get("targetPort", port["port"]) == container["ports"][0]["containerPort"]
    store = secrets["RATEKEEPER_STORE"]
    assert store == f"redis://:{secrets['STORE_PASSWORD']}@quota-store:6379/0"


def test_the_manifest_lets_replicas_end_in_peace(manifest):
    spec = manifest["Deployment", "agents"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    words = container["command"] + container["args"]
    graceful = int(words[words.index("--graceful-timeout") + 1])
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["replicas"] == 6
    assert graceful + waits < pod["terminationGracePeriodSeconds"]
    assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_the_manifests_store_is_started_with_options_that_it_knows(manifest, tmp_path):
    (container,) = manifest["StatefulSet", "quota-store"]["spec"]["template"]["spec"]["containers"]
    _, *words = container["command"] + container["args"]
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    settings = {name.removeprefix("--").replace("-", "_"): value for name, value in options.items()}
    assert settings.pop("requirepass") == "$(STORE_PASSWORD)"
    with Server(tmp_path, "valkey", "secret", **{**settings, "dir": tmp_path}) as server:
        assert server.command("CONFIG", "GET", "maxmemory") == ["maxmemory", str(200 * 2**20)]
