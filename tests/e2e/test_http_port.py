"""A master whose HTTP port another program has."""

import socket
from pathlib import Path

import pytest
from tests.e2e.cluster import cluster


@pytest.mark.parametrize("store", ["memory:", "sqlite:///{folder}/distq.db"])
def test_a_master_without_its_http_port_ends_with_a_message(store: str, tmp_path: Path) -> None:
    """Also with a store on disk, whose thread must not keep the process alive; the message names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as other, cluster(tmp_path) as grid:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        master = grid.run("master", DISTQ_STORE=store.format(folder=tmp_path), DISTQ_HTTP_ADDRESS=address)
        assert master.ends() == 2, master.text
        assert f"HTTP cannot be served at {address}: Address already in use." in master.text
        assert "DISTQ_HTTP_ADDRESS" in master.text
