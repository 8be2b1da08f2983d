"""The scrape configurations that Compose mounts."""

import pytest
import yaml
from tests.kit.shell import run
from tests.tidy.tree import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
FILE = FOLDER / "prometheus.yml"
FILE_WITH_TLS = FOLDER / "prometheus-tls.yml"
DISCOVERY_S = 15


@pytest.mark.promtool
@pytest.mark.parametrize("path", [FILE, FILE_WITH_TLS], ids=lambda path: path.name)
def test_promtool_finds_no_fault_in_the_configuration(path: object) -> None:
    """Prometheus knows every key; the file of the CA exists only in its container."""
    assert "SUCCESS" in run("promtool", "check", "config", "--syntax-only", str(path))


def test_the_configuration_for_tls_differs_only_in_tls() -> None:
    """Prometheus connects to containers by their addresses, and checks the name `master` of their certificate."""
    plain, sealed = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in (FILE, FILE_WITH_TLS))
    for job in sealed["scrape_configs"]:
        assert job.pop("scheme") == "https"
        assert job.pop("tls_config") == {"ca_file": "/etc/distq-tls/ca.crt", "server_name": "master"}
    assert sealed == plain


def test_dns_discovery_finds_replicas_in_time() -> None:
    """The refresh and one scrape together take less than fifteen seconds after `--scale worker=5`."""
    config = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    assert jobs["distq-worker"]["names"] == ["worker"]
    assert jobs["distq-replicated-master"]["names"] == ["replicated-master"]
    assert jobs["distq-replicated-worker"]["names"] == ["replicated-worker"]
    scrape_s = int(config["global"]["scrape_interval"].removesuffix("s"))
    for job in jobs.values():
        assert (job["type"], job["port"]) == ("A", 9001)
        assert int(job["refresh_interval"].removesuffix("s")) + scrape_s < DISCOVERY_S
