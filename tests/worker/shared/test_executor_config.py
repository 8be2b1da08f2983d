"""Tests of the configuration that a supervisor sends to its executors."""

import os

import pytest
from tests.worker.at_work import executor_config

from distq.worker.shared.executor_config import read_config, write_config


def test_a_configuration_arrives_through_a_pipe() -> None:
    """The executor also notices a supervisor that ends before it has sent one."""
    read_fd, write_fd = os.pipe()
    write_config(write_fd, executor_config(number=7))
    assert read_config(read_fd) == executor_config(number=7)
    os.close(write_fd)
    with pytest.raises(EOFError):
        read_config(read_fd)
    os.close(read_fd)
