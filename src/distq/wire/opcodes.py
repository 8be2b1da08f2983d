"""Makes an untrusted pickle harmless before the C unpickler reads it.

The unpickler that follows (`inert`) imports and calls nothing, but four things in a pickle cost more than its
bytes, and a short hostile pickle is enough for each:

- A PUT with a huge index makes the C unpickler of Python 3.11 and others allocate and touch 16 bytes for every
  index below it (gh-115952); a BYTEARRAY8 allocates the length that it claims.
- A dict or a set hashes its keys. The hash of a tuple is not cached, so that 60 nested pairs of the same tuple
  take for ever, and it recurses in C without a check, so that a tuple nested a million deep is a crash.
- An extension code makes the unpickler read this process's own registry.
- Every opcode of one byte makes an object of up to 80.

Most calls are short and have none of these opcodes, nor one that names a class: `is_of_values` recognises them. For
the others `disarm` reads the opcodes once, at the speed of one compiled regular expression: it matches runs of harmless
opcodes, and stops at the others. It checks lengths and indices against the frame, replaces opcodes that hash by
opcodes that pass the keys to `persistent_load` (which takes texts only), and counts the opcodes.
"""

import re
from struct import Struct

from distq.wire.errors import BadCall

# Maximum opcodes of a call: at 80 bytes each at worst, they take 160 MB for a short time. A plain `put(item)` is not
# checked by opcodes at all, whatever its size.
OPCODES_MAX = 2_000_000

# What an opcode outside of a run counts as: it takes about ten times as long, and one call may take at most 0.3 s.
_SPECIAL_OPCODES = 10

_RUN = 4096  # maximum opcodes matched at a time, which is the accuracy of their count
_LINE_BYTES_MAX = 5000  # text numbers are only written by protocol 0, and Python limits them to 4300 digits

_UINT32 = Struct("<I")
_UINT64 = Struct("<Q")


def _counted(opcode: bytes) -> bytes:
    """Return a pattern of an opcode followed by a length of one byte and that number of bytes.

    It is a tree, sixteen times sixteen: a flat list of 256 lengths would be tried one after the other.
    """
    groups = []
    for high in range(0, 256, 16):
        exact = b"|".join(b"%s.{%d}" % (re.escape(bytes([n])), n) for n in range(high, high + 16))
        groups.append(b"(?=%s)(?:%s)" % (_charset(high, high + 15), exact))
    return b"%s(?:%s)" % (re.escape(opcode), b"|".join(groups))


def _charset(first: int, last: int) -> bytes:
    return rb"[\x%02x-\x%02x]" % (first, last)


_HARMLESS = b"|".join(
    (
        # MARK POP POP_MARK DUP NONE TRUE FALSE () [] {} LIST TUPLE TUPLE1-3 APPEND APPENDS EMPTY_SET
        # REDUCE BUILD NEWOBJ NEWOBJ_EX OBJ BINPERSID STACK_GLOBAL MEMOIZE
        rb"[(012N\x88\x89)\]}lt\x85\x86\x87ae\x8fRb\x81\x92oQ\x93\x94]",
        rb"[Khq\x80].",  # BININT1 BINGET BINPUT PROTO
        _counted(b"C"),  # SHORT_BINBYTES
        _counted(b"\x8c"),  # SHORT_BINUNICODE
        rb"M..",  # BININT2
        rb"[Jj].{4}",  # BININT LONG_BINGET
        rb"G.{8}",  # BINFLOAT
        _counted(b"\x8a"),  # LONG1
        _counted(b"U"),  # SHORT_BINSTRING
        rb"[ILF][^\n]{0,%d}\n" % _LINE_BYTES_MAX,  # INT LONG FLOAT
        rb"[SVgP][^\n]*\n",  # STRING UNICODE GET PERSID
        rb"[ci][^\n]*\n[^\n]*\n",  # GLOBAL INST
    )
)
# A short pickle of numbers, texts, bytes, tuples, lists and empty dicts alone: PROTO, FRAME, these opcodes, STOP.
_OF_VALUES = b"|".join(
    (
        rb"[(N\x88\x89)\]}t\x85\x86\x87ae\x94]+",  # MARK NONE TRUE FALSE () [] {} TUPLE TUPLE1-3 APPEND APPENDS MEMOIZE
        rb"[Kh].",  # BININT1 BINGET
        _counted(b"\x8c"),  # SHORT_BINUNICODE
        _counted(b"C"),  # SHORT_BINBYTES
        _counted(b"\x8a"),  # LONG1
        rb"M..",  # BININT2
        rb"J.{4}",  # BININT
        rb"G.{8}",  # BINFLOAT
    )
)
_match_values = re.compile(rb"\x80[\x04\x05]\x95.{8}(?:%s)*+\." % _OF_VALUES, re.DOTALL).fullmatch
_SHORT_BYTES_MAX = 2048  # a longer one costs more to check than it saves

_harmless_run = re.compile(rb"(?:%s){1,%d}+" % (_HARMLESS, _RUN), re.DOTALL).match

_STOP = 0x2E
_PROTO = 0x80
_FRAME = 0x95
_FRAMED_FROM = 11  # PROTO has two bytes, FRAME nine
_PUT_LINE = 0x70
_LONG_BINPUT = 0x72
_WITH_UINT32 = frozenset(b"BXT\x8b")  # BINBYTES BINUNICODE BINSTRING LONG4
_WITH_UINT64 = frozenset(b"\x8e\x8d\x96")  # BINBYTES8 BINUNICODE8 BYTEARRAY8
_OF_PARTS = frozenset(b"\x97\x98")  # NEXT_BUFFER READONLY_BUFFER
_EXTENSIONS = {0x82: 2, 0x83: 3, 0x84: 5}  # EXT1 EXT2 EXT4, and their sizes

# An opcode that hashes becomes a BINPERSID over the same operands (see inert.persistent_load).
_REPLACED = {
    ord("s"): b"\x87Q",  # SETITEM: (dict, key, value)
    ord("u"): b"l\x86Q",  # SETITEMS: (dict, [key, value, ...])
    ord("d"): b"lQ",  # DICT: [key, value, ...]
    0x90: b"l\x86Q",  # ADDITEMS: (set, [value, ...])
    0x91: b"l",  # FROZENSET: [value, ...]
}
_INERT = b"\x88Q"  # persistent_load(True)


def is_of_values(frame: bytes) -> bool:
    """Whether a frame is a short pickle in which nothing is named, called or hashed: any unpickler may read it."""
    return len(frame) <= _SHORT_BYTES_MAX and _match_values(frame) is not None


def disarm(frame: bytes, *, is_split: bool = False) -> bytes:
    """Return a pickle that the inert unpickler may read: the frame itself if no opcode must be replaced.

    Only the pickle of a split frame may refer to its parts.

    Raises:
        BadCall: the frame is no pickle, is cut short, or asks for more than its bytes can need.
    """
    end = len(frame) - 1
    if end < 0 or frame[end] != _STOP:
        raise BadCall("This is not a call: the pickle has no end.")
    edits: list[tuple[int, int, bytes]] = []
    position = opcodes = frames = 0
    while position < end:
        run = _harmless_run(frame, position, end)
        if run is not None:
            # A run counts as its bytes, but as _RUN at most: it never has more opcodes than that.
            opcodes += min(_RUN, run.end() - position)
            position = run.end()
        if position < end and (run is None or run.end() - run.start() < _RUN):
            is_part = is_split and frame[position] in _OF_PARTS
            size, replacement = (1, None) if is_part else _special(frame, position, end)
            if replacement is not None:
                edits.append((position, size, replacement))
                frames += frame[position] == _FRAME
            position += size
            opcodes += _SPECIAL_OPCODES
        if opcodes > OPCODES_MAX:
            raise BadCall(
                f"This call has more than {OPCODES_MAX:,} parts. Send several smaller ones, or put(item) alone."
            )
    if frames == len(edits) == 1 and _is_framed(frame):
        return frame
    return _in_one_frame(frame, edits)


def _special(frame: bytes, position: int, end: int) -> tuple[int, bytes | None]:
    """Return the size of an opcode that is not in a harmless run, and the bytes to write in its place, if any."""
    opcode = frame[position]
    if opcode in _REPLACED:
        return 1, _REPLACED[opcode]
    if opcode in _EXTENSIONS:
        size, replacement = _EXTENSIONS[opcode], _INERT
    elif opcode == _FRAME:
        size, replacement = 9, b""
    elif opcode in _WITH_UINT32 and position + 5 <= end:
        size, replacement = 5 + _UINT32.unpack_from(frame, position + 1)[0], None
    elif opcode in _WITH_UINT64 and position + 9 <= end:
        size, replacement = 9 + _UINT64.unpack_from(frame, position + 1)[0], None
    elif opcode == _LONG_BINPUT and position + 5 <= end:
        size, replacement = 5, None
        _check_index(_UINT32.unpack_from(frame, position + 1)[0], position)
    elif opcode == _PUT_LINE:
        line_end = frame.find(b"\n", position, position + 12)
        size, replacement = line_end + 1 - position, None
        digits = frame[position + 1 : line_end]
        if line_end < 0 or not digits.isdigit():
            raise BadCall("This is not a call: the pickle cannot be read.")
        _check_index(int(digits), position)
    else:
        raise BadCall("This is not a call: the pickle cannot be read.")
    if position + size > end:
        raise BadCall("This is not a call: the pickle is cut short.")
    return size, replacement


def _check_index(index: int, position: int) -> None:
    # A pickler numbers the values that it memoises from zero, and needs at least two bytes for each before this one.
    if index > position // 2:
        raise BadCall("This is not a call: the pickle remembers more than it holds.")


def _is_framed(pickled: bytes) -> bool:
    """Whether the pickle is PROTO and one FRAME around all the rest."""
    return (
        pickled[0] == _PROTO
        and len(pickled) > _FRAMED_FROM
        and pickled[2] == _FRAME
        and _UINT64.unpack_from(pickled, 3)[0] == len(pickled) - _FRAMED_FROM
    )


def _in_one_frame(pickled: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Return the edited pickle in one FRAME; the edits remove its own frames.

    Outside of frames the unpickler reads opcode by opcode, ten times slower; and it refuses a FRAME within another.
    """
    view = memoryview(pickled)
    pieces: list[bytes | memoryview] = [b""]
    kept = 0
    for position, size, replacement in edits:
        pieces += (view[kept:position], replacement)
        kept = position + size
    pieces.append(view[kept:])
    pieces[0] = b"\x95" + _UINT64.pack(sum(map(len, pieces)))
    return b"".join(pieces)
