"""What the command line does before anything else is imported: hear the signals that end it.

Ctrl-C ends any command quietly. A service hears SIGTERM and, unless it was started to ignore it (nohup), SIGHUP: as
process 1 of a container it would not end by a SIGTERM for which it has no handler: the kernel drops the signal. One
comes right after the start when an autoscaler changes its mind, or a deployment is rolled back. Until master or worker
take the signal over, nothing has begun that would have to be finished: the process ends at once, and well.
"""

# The public module makes Enums when it is imported, which takes longer than all that comes before the handler.
import _signal  # type: ignore[import-not-found]
import os
import sys

SERVICES = ("master", "worker")
ENV_FILE = "--env-file"
INTERRUPTED = 130


def hear_signals(args: list[str]) -> None:
    """End by Ctrl-C without a traceback; if these arguments start a service, end well by SIGTERM and SIGHUP."""
    if _signal.getsignal(_signal.SIGINT) is not _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, lambda _number, _frame: os._exit(INTERRUPTED))
    if command_of(args)[0] not in SERVICES:
        return
    _signal.signal(_signal.SIGTERM, _end_well)
    if _signal.getsignal(_signal.SIGHUP) is not _signal.SIG_IGN:
        _signal.signal(_signal.SIGHUP, _end_well)


def _end_well(_number: int, _frame: object) -> None:
    os._exit(os.EX_OK)


def hear_ctrl_c() -> None:
    """From here on Ctrl-C is an exception, as Python has it: the command line turns it into an exit code."""
    if _signal.getsignal(_signal.SIGINT) is not _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def command_of(args: list[str]) -> tuple[str, str]:
    """The command among arguments, and the settings file, '' for none; what is wrong with them is said elsewhere."""
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
    """The file that stands in the way of a module of the standard library, '' if none does.

    It is found where the interpreter looks first: in the current folder, or in one of PYTHONPATH.
    """
    home = os.path.realpath(os.__file__).rpartition(os.sep)[0]
    for name in sorted(sys.stdlib_module_names & sys.modules.keys()):
        file = getattr(sys.modules[name], "__file__", None)
        if file and not os.path.realpath(file).startswith(home + os.sep):
            return str(file)
    return ""
