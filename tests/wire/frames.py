"""Checks the FRAME opcodes of a pickle on its bytes, as strictly as PEP 3154 requires, on every version of Python.

CPython's own unpickler enforces these rules since 3.13.15, 3.14.7 and 3.15; older ones read on.
"""

import pickle
import pickletools
from itertools import pairwise

from distq.wire.splice import packed_item

FRAME_BYTES = 9
"""Bytes of a FRAME opcode with its length."""


def check_frames(pickled: bytes | memoryview) -> int:
    """Count the FRAMEs of a pickle; fails unless each ends where an opcode ends, before the next FRAME begins."""
    pickled = bytes(pickled)
    positions = [position for _, _, position in pickletools.genops(pickled) if position is not None]
    frames = end = 0
    for position, following in pairwise([*positions, len(pickled)]):
        assert position >= end or following <= end, f"the opcode at {position} lies across the FRAME's end at {end}"
        if pickled[position : position + 1] == pickle.FRAME:
            assert position >= end, f"the FRAME at {position} begins within the one that ends at {end}"
            end = position + FRAME_BYTES + int.from_bytes(pickled[position + 1 : position + FRAME_BYTES], "little")
            frames += 1
    assert end <= len(pickled), f"the last FRAME ends at {end}, and the pickle at {len(pickled)}"
    return frames


def returned_item(body: bytes) -> bytes:
    """Return the body of the reply with an item: the frame without its length."""
    return b"".join(packed_item(body))[4:]
