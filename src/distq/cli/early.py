"""Installs signal handlers before the command line imports anything else.

Ctrl-C ends any command without a traceback. A service handles SIGTERM and, unless nohup made it ignore that, SIGHUP:
the kernel drops a SIGTERM for process 1 of a container that has no handler. An autoscaler or a rollback sends SIGTERM
right after the start. Until master or worker replace the handler nothing has to be finished: the process exits with 0.
"""

# The import of the public module builds Enums, which takes longer than everything else before the handler.
import _signal  # type: ignore[import-not-found]
import os
import sys

SERVICES = ("master", "worker")
ENV_FILE = "--env-file"
INTERRUPTED = 130


def handle_signals(args: list[str]) -> None:
    """Exit without a traceback at Ctrl-C; if these arguments start a service, exit with 0 at SIGTERM and SIGHUP."""
    exit_at_ctrl_c()
    if command_of(args)[0] not in SERVICES:
        return
    _signal.signal(_signal.SIGTERM, _exit_ok)
    if _signal.getsignal(_signal.SIGHUP) is not _signal.SIG_IGN:
        _signal.signal(_signal.SIGHUP, _exit_ok)


def exit_at_ctrl_c() -> None:
    """Have Ctrl-C end the process at once: an exception in an import would be printed by Python, and be lost there."""
    if _signal.getsignal(_signal.SIGINT) is not _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, _exit_interrupted)


def _exit_interrupted(_number: int, _frame: object) -> None:
    os._exit(INTERRUPTED)


def _exit_ok(_number: int, _frame: object) -> None:
    os._exit(os.EX_OK)


def raise_at_ctrl_c() -> None:
    """Have Ctrl-C raise KeyboardInterrupt from here on: the command line turns it into an exit code.

    A program that runs a command inside itself keeps its own handler.
    """
    if _signal.getsignal(_signal.SIGINT) is _exit_interrupted:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def raise_at_termination() -> None:
    """Have SIGTERM and, unless nohup made this process ignore that, SIGHUP raise SystemExit: the command cleans up."""
    for number in (_signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, _exit_after_cleanup)


def _exit_after_cleanup(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)  # the exit code that a shell reports for a process that the signal ended


def command_of(args: list[str]) -> tuple[str, str]:
    """Return the command among the arguments, and the settings file, '' for none; errors in them are left to click."""
    env_file = ""
    rest = iter(args)
    for arg in rest:
        if arg == ENV_FILE:
            env_file = next(rest, "")
        elif arg.startswith(f"{ENV_FILE}="):
            env_file = arg.partition("=")[2]
        elif not arg.startswith("-"):
            return arg, env_file
    return "", env_file


def shadowed() -> str:
    """Return a file that hides a module of the standard library, '' without one.

    Such a file is in the current folder or in one of PYTHONPATH, where the interpreter looks first.
    """
    home = os.path.realpath(os.__file__).rpartition(os.sep)[0]
    for name in sorted(sys.stdlib_module_names & sys.modules.keys()):
        file = getattr(sys.modules[name], "__file__", None)
        if file and not os.path.realpath(file).startswith(home + os.sep):
            return str(file)
    return ""
