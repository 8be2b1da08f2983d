"""Tests of the page that an executor shares with its supervisor."""

import os

from distq.worker.shared.batch_page import BEGUN, BatchPage
from distq.worker.shared.page import Counts


def test_the_page_shows_running_and_done_tasks() -> None:
    """The other mapping of the same memory shows them immediately."""
    page = BatchPage.create()
    reader = BatchPage(os.dup(page.fd))
    assert reader.running is None
    page.set_batch([1 << 62, 3, 2, 1])
    assert page.begin(0) == BEGUN
    assert reader.running == (1 << 62, 3)
    assert reader.unstarted(reader.position) == [(2, 1)]
    assert page.begin(1) == BEGUN
    assert reader.running == (2, 1)
    page.rest()
    page.count_ended(1, 1, 0.75)
    page.count_released(4)
    assert reader.running is None
    assert reader.counts == Counts(done=1, failed=1, released=4, run_s=0.75)
    assert Counts(1, 2, 3, 4.0).plus(Counts(1, 1, 1, 1.0)) == Counts(2, 3, 4, 5.0)
    page.close()
    reader.close()
