"""Keys that sign and encrypt payloads in the chart: workers and tests get them, the master does not."""

from tests.kit.chart import CI, env_of, render
from tests.kit.shell import CHART, fails


def test_workers_and_tests_get_the_payload_keys_and_the_master_does_not() -> None:
    """Every pod but the master's mounts the Secret, and has the path of each key."""
    for (kind, _), pod in render(CI / "signed-values.yaml").pods().items():
        (container,) = pod["containers"]
        env = env_of(container)
        has_keys = [volume for volume in pod["volumes"] if volume["name"] == "payload-keys"]
        if kind == "StatefulSet":
            assert not has_keys
            assert "DISTQ_SIGNING_KEY_FILE" not in env
            continue
        assert env["DISTQ_SIGNING_KEY_FILE"] == "/etc/distq-payload-keys/signing"
        assert env["DISTQ_ENCRYPTION_KEY_FILE"] == "/etc/distq-payload-keys/encryption"
        (volume,) = has_keys
        assert volume["secret"]["items"] == [
            {"key": "signing-key", "path": "signing"},
            {"key": "encryption-key", "path": "encryption"},
        ]


def test_a_secret_of_payload_keys_without_an_entry_is_an_error() -> None:
    """The message names the values that are empty."""
    options = ("--set", "payloadKeys.existingSecret=own", "--set", "payloadKeys.signingKey=")
    assert "set payloadKeys.signingKey" in fails("helm", "template", "distq", CHART, *options)
