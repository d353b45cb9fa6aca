"""Holds the files in conf/ against the schemas of the tools that read them: Kubernetes, Prometheus, systemd."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

CONF = pathlib.Path(__file__).resolve().parent.parent.parent / "conf"
KUBERNETES = "1.30"


def check_kubernetes() -> None:
    documents = list(yaml.safe_load_all((CONF / "kubernetes/pollcast.yaml").read_text()))
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    kinds = [document["kind"] for document in documents]
    assert kinds == ["Deployment", "Service", "PodDisruptionBudget"], kinds
    kustomization = yaml.safe_load((CONF / "kubernetes/kustomization.yaml").read_text())
    generated = [entry["name"] for entry in kustomization["configMapGenerator"]]
    volumes = documents[0]["spec"]["template"]["spec"]["volumes"]
    assert [volume["configMap"]["name"] for volume in volumes] == generated, (volumes, generated)


def check_prometheus() -> None:
    compose = yaml.safe_load((CONF / "compose-monitoring.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        at = pathlib.Path(folder)
        shutil.copy(CONF / "prometheus-alerts.yaml", at / "pollcast.yaml")
        config = compose["configs"]["prometheus"]["content"].replace("/etc/prometheus", folder)
        (at / "prometheus.yaml").write_text(config)
        subprocess.run(["promtool", "check", "config", at / "prometheus.yaml"], check=True, stdout=subprocess.DEVNULL)


def check_systemd() -> None:
    """The words of the unit; that it starts is tried by a real systemd alone."""
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "pollcast"
        program.symlink_to("/bin/true")
        unit = (CONF / "pollcast.service").read_text().replace("/usr/bin/pollcast", str(program))
        path = pathlib.Path(folder) / "pollcast.service"
        path.write_text(unit)
        run = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
        said = [line for line in run.stderr.splitlines() if "pollcast.service" in line]
        assert run.returncode == 0 and not said, run.stderr


failed = False
for check in [check_kubernetes, check_prometheus, check_systemd]:
    try:
        check()
        print(f"ok    conf: {check.__name__}")
    except Exception as error:
        failed = True
        print(f"FAIL  conf: {check.__name__}: {error!r}")
sys.exit(failed)
