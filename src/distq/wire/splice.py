"""Passes plain items through the master as the bytes in which they arrived.

A pickle is a program for a stack machine, and a call's frame without its last opcode (STOP) leaves the call on
the stack. So the master can write a pickle around it that makes *its reader* take the argument out of the call:
`getitem(getitem(call, 2), 0)`. The opcodes before the frame memoise nothing, because the frame counts its
memo from zero; they are outside of any FRAME, because frames may not be nested; and they set no protocol,
because a protocol below 3 changes how names are read. The first opcode behind the frame is one byte, as is the STOP
that it replaces: a FRAME counts that byte, and no opcode may lie across a FRAME's end.
"""

from distq.wire.errors import BadCall
from distq.wire.framing import Buffer, SplitFrame, header
from distq.wire.inert import InertCall

_GETITEM_TWICE = b"coperator\ngetitem\ncoperator\ngetitem\n"
_IN_PLACE_OF_STOP = b"\x94"  # MEMOIZE: it changes nothing that is read afterwards
_ARGS = _IN_PLACE_OF_STOP + b"K\x02\x86R"
_KWDS = _IN_PLACE_OF_STOP + b"K\x03\x86R"
_FIRST_ARGUMENT = _ARGS + b"K\x00\x86R."

_RETURN = b"\x8c\x07#RETURN"
_RETURN_END = b"\x86."


def item(call: InertCall, index: int = 0, keyword: str = "item") -> bytes:
    """Return a pickle that evaluates to one argument of a call; this process does not evaluate it.

    Raises:
        BadCall: the call has no such argument, or came in a split frame.
    """
    if isinstance(call.frame, SplitFrame):  # without its parts its pickle means nothing; no peer of distq sends this
        raise BadCall(f"{call.method}() is not sent in a split frame: send the item in one pickle.")
    if index < len(call.args):
        path = _FIRST_ARGUMENT if index == 0 else _ARGS + b"M%s\x86R." % index.to_bytes(2, "little")
    elif keyword in call.kwds:
        name = keyword.encode()
        path = _KWDS + b"X%s%s\x86R." % (len(name).to_bytes(4, "little"), name)
    else:
        raise BadCall(f"{call.method}() needs an argument {keyword!r}.")
    return b"".join((_GETITEM_TWICE, memoryview(call.frame)[:-1], path))


def packed_item(body: bytes) -> tuple[Buffer, ...]:
    """Return the frame of a reply that makes the caller's method return what `body`, a pickle, evaluates to.

    The parts are for one vectored write: nothing is copied.
    """
    length = len(_RETURN) + len(body) - 1 + len(_RETURN_END)
    return (header(length) + _RETURN, memoryview(body)[:-1], _RETURN_END)
