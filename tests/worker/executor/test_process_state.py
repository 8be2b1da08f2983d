"""Tests of the process state: every task finds it as the executor set it."""

import _signal  # type: ignore[import-not-found]
import ctypes
import faulthandler
import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from distq.worker.executor.process_state import RESTORE_ALL_S, ProcessState, timer_s

LIBRARYS = signal.Handlers.SIG_DFL
SHORT_S = 0.0


class Watched:
    """A started process state, and the signals that it has received."""

    def __init__(self) -> None:
        self.handled: list[int] = []
        self.looks = 0
        self.state = ProcessState()

    def starts(self) -> None:
        """Take over two signals, and start."""
        for number in (signal.SIGALRM, signal.SIGTERM):
            self.state.own(number, lambda number, _frame: self.handled.append(number))
        self.state.start(self._look)

    def _look(self) -> None:
        self.looks += 1


@pytest.fixture(name="watched")
def make_watched() -> Iterator[Watched]:
    """Yield a process state, and restore all signals afterwards."""
    numbers = (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    made = Watched()
    made.starts()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR2])
def test_a_handler_that_a_short_task_has_left_is_restored(watched: Watched, number: signal.Signals) -> None:
    """The executor's own handlers and those that were set at its start are restored."""
    before = signal.getsignal(number)
    signal.signal(number, LIBRARYS if before is not LIBRARYS else signal.Handlers.SIG_IGN)
    watched.state.task_ended(SHORT_S)
    assert signal.getsignal(number) is before


def test_a_short_task_that_leaves_nothing_costs_only_a_comparison(watched: Watched) -> None:
    """The executor restores nothing."""
    watched.state.task_ended(SHORT_S)
    assert watched.looks == 0
    watched.state.task_ended(RESTORE_ALL_S)
    assert watched.looks == 1


def test_a_handler_that_only_the_kernel_knows_is_restored_after_a_long_task(watched: Watched) -> None:
    """A C library has set a handler of SIGTERM, which Python does not see."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(signal.SIGTERM, 1)  # ignored
    watched.state.task_ended(RESTORE_ALL_S)
    signal.raise_signal(signal.SIGTERM)
    assert watched.handled == [signal.SIGTERM]


def test_a_mask_and_an_alarm_end_with_their_task(watched: Watched) -> None:
    """Otherwise the next task would not be interrupted, or be interrupted without a reason."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    signal.setitimer(signal.ITIMER_REAL, 1000)
    signal.raise_signal(signal.SIGTERM)
    assert watched.handled == []
    watched.state.restore()
    assert watched.handled == [signal.SIGTERM]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_wakeup_descriptor_of_a_task_is_removed(watched: Watched) -> None:
    """Its number may belong to another file later."""
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        signal.set_wakeup_fd(far.fileno())
        watched.state.restore()
        assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("has_handler", [False, True])
def test_stacks_are_written_after_a_task_took_their_signal(watched: Watched, *, has_handler: bool) -> None:
    """The supervisor requests them before a kill; a handler of a program around the executor is called too."""
    read_fd, write_fd = os.pipe()
    if has_handler:
        watched.state.own(signal.SIGUSR1, lambda number, _frame: watched.handled.append(number))
    watched.state.write_stacks_to(write_fd, all_threads=False)
    watched.state.start(lambda: None)
    for _ in range(2):
        signal.raise_signal(signal.SIGUSR1)
        assert b"test_stacks_are_written" in os.read(read_fd, 65_536)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        watched.state.task_ended(SHORT_S)
    assert watched.handled == [signal.SIGUSR1] * 2 * has_handler
    faulthandler.unregister(signal.SIGUSR1)
    os.close(read_fd)
    os.close(write_fd)


@pytest.mark.parametrize("left_s", [1e10, float("inf"), float("nan"), 30 * 86_400.0, 1e300])
@pytest.mark.parametrize("sets", [lambda s: signal.setitimer(signal.ITIMER_VIRTUAL, s), lambda s: int(s * 1000)])
def test_a_timer_accepts_any_time(left_s: float, sets: Callable[[float], object]) -> None:
    """The timer fires after a day at most, and is set again."""
    assert 0 < timer_s(left_s) <= 86_400
    sets(timer_s(left_s))
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def test_the_public_functions_are_the_used_private_ones() -> None:
    """The private module is the one behind them, on every Python."""
    assert _signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGTERM)
