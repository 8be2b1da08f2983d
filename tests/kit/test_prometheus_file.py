"""The scrape configuration that Compose mounts."""

import pytest
import yaml
from tests.kit.shell import run
from tests.tidy.tree import ROOT

FILE = ROOT / "deploy" / "prometheus" / "prometheus.yml"
DISCOVERY_S = 15


@pytest.mark.promtool
def test_promtool_finds_no_fault_in_the_configuration() -> None:
    """Prometheus knows every key."""
    assert "SUCCESS" in run("promtool", "check", "config", FILE)


def test_dns_discovery_finds_replicas_in_time() -> None:
    """The refresh and one scrape together take less than fifteen seconds after `--scale worker=5`."""
    config = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    assert jobs["distq-worker"]["names"] == ["worker"]
    scrape_s = int(config["global"]["scrape_interval"].removesuffix("s"))
    for job in jobs.values():
        assert (job["type"], job["port"]) == ("A", 9001)
        assert int(job["refresh_interval"].removesuffix("s")) + scrape_s < DISCOVERY_S
