"""Follows the proxies of standard-library programs, to learn whether a program without a connection still runs.

`manager.get_work_queue().get()` keeps no proxy. The standard library ends a thread's connection when the process has
given up its last proxy, so such a program hangs up after every call, while it works on the item that it has just
taken. Its proxies still say whose they are: the ident that `create` answers has the process and the thread in it
(`wire.messages.created`), and a proxy announces itself (`incref`) and its end (`decref`), unless its process is killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from distq.master.calls.plain_peer import PlainPeer, ProgramThread, StdlibProgram

if TYPE_CHECKING:
    from distq.master.cycle.requests import Cycle
    from distq.net.serve import ServerConnection

DOUBTED_S: Final = 1.0
"""Maximum seconds without a call of a program that still has proxies; after that it was killed."""
FIRST_HELD_S: Final = 30.0
"""Maximum seconds for which a program holds its first item without a connection; it may have ended normally."""
HELD_S: Final = 3600.0
"""Maximum seconds for which a program that came back before holds an item without a connection."""
CALLER_CHARS_MAX: Final = 60
"""Maximum characters of a process and a thread in an ident; `create` makes no longer ones, which are ignored."""
PROGRAMS_MAX: Final = 10_000
"""Maximum programs remembered, to bound memory; the end of a forgotten program's connection counts as its end."""
THREADS_MAX: Final = 10_000
"""Maximum threads remembered, of all programs; those of the program that called longest ago are forgotten first."""


class StdlibPrograms:
    """The programs that have made proxies, and which of their threads hold an item without a connection."""

    def __init__(self, cycle: Cycle, lease_s: float | None, keeps_none: Callable[[str], None]) -> None:
        self._cycle = cycle
        self._lease_s = math.inf if lease_s is None else lease_s
        self._keeps_none = keeps_none
        """Receives the address of a program that keeps no proxies."""
        self._programs: dict[str, StdlibProgram] = {}
        self._thread_count = 0
        """Number of remembered threads, of all programs."""

    # -- proxies -------------------------------------------------------------------------------

    def begun(self, caller: str) -> None:
        """Note a new proxy (`incref`)."""
        if len(caller) > CALLER_CHARS_MAX:
            return
        key = _process(caller)
        program = self._programs.pop(key, None)
        if program is None:
            program = StdlibProgram()
            while len(self._programs) >= PROGRAMS_MAX:
                self._thread_count -= len(self._programs.pop(next(iter(self._programs))).threads)
        elif program.live <= 0:
            program.came_back = True
        self._programs[key] = program  # the last one to be forgotten
        thread = program.threads.get(caller)
        if thread is None:
            thread = ProgramThread(caller, program)
            self._remember(thread)
        thread.is_new = True
        thread.live += 2
        program.live += 2
        self._is_alive(program)

    def ended(self, caller: str) -> None:
        """Note that a proxy is complete, or has ended (`decref`)."""
        thread = self._thread(caller)
        if thread is None:
            return
        thread.live -= 1
        thread.program.live -= 1
        if thread.live <= 0 and thread.peer is None:
            del thread.program.threads[caller]
            self._thread_count -= 1
        self._is_alive(thread.program)

    def called(self, peer: PlainPeer, caller: str, *, takes: bool) -> None:
        """A proxy of this thread has called a method, one that `takes` an item or another."""
        peer.thread = thread = self._thread(caller)
        is_first = thread is not None and thread.is_new and thread.live == 1
        if thread is not None:
            thread.is_new = False
        if takes:
            peer.took_by_new_proxy = is_first

    # -- connections ---------------------------------------------------------------------------

    def peer(self, connection: ServerConnection, caller: str) -> PlainPeer:
        """The peer of a new connection: that of its thread's last one, where that has an item to answer for."""
        thread = self._thread(caller)
        if thread is None or thread.peer is None:
            return PlainPeer(connection)
        peer, thread.peer = thread.peer, None
        peer.attach(connection)
        if self._lease_s == math.inf:
            peer.lease_until_at = math.inf
        return peer

    def detach(self, peer: PlainPeer) -> bool:
        """Let a peer whose connection has ended keep its item; False unless its thread has only dropped its proxy."""
        thread = peer.thread
        if thread is None or not peer.took_by_new_proxy or thread.live > 0 or thread.peer is not None:
            return False
        program = thread.program
        if self._programs.get(_process(thread.caller)) is not program:
            return False
        peer.connection = None
        peer.detached_at = self._cycle.clock.now()
        thread.peer = peer
        self._remember(thread)
        # With a proxy left it was killed, or another of its threads makes a proxy now and calls soon.
        self._hold(peer, DOUBTED_S if program.live > 0 else _held_s(program))
        self._keeps_none(peer.label)
        return True

    def _is_alive(self, program: StdlibProgram) -> None:
        for thread in program.threads.values():
            if thread.peer is not None:
                self._hold(thread.peer, _held_s(program))

    def _hold(self, peer: PlainPeer, held_s: float) -> None:
        if peer.held:
            peer.renew_lease(self._cycle, peer.detached_at + min(held_s, self._lease_s))

    def _remember(self, thread: ProgramThread) -> None:
        """Remember a thread of a program that is remembered."""
        threads = thread.program.threads
        if thread.caller not in threads:
            if self._thread_count >= THREADS_MAX:
                self._forget_one()
            self._thread_count += 1
            self._programs.setdefault(_process(thread.caller), thread.program)  # it may have been forgotten just now
        threads[thread.caller] = thread

    def _forget_one(self) -> None:
        """Forget a thread of the program that called longest ago."""
        while not (program := self._programs[oldest := next(iter(self._programs))]).threads:
            del self._programs[oldest]
        program.live -= program.threads.pop(next(iter(program.threads))).live
        self._thread_count -= 1

    def _thread(self, caller: str) -> ProgramThread | None:
        program = self._programs.get(_process(caller))
        return None if program is None else program.threads.get(caller)


def _process(caller: str) -> str:
    return caller.rpartition(".")[0]


def _held_s(program: StdlibProgram) -> float:
    return HELD_S if program.came_back else FIRST_HELD_S
