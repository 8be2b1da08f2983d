"""Pickles that cost far more than their bytes, and a program that measures the cost of reading them.

Run as `python -m tests.wire.bombs`, it prints one line of JSON: for each bomb the seconds and the growth of the
process's peak memory in MiB, and the sentence of the refusal.
"""

import json
import struct
import time
from pathlib import Path

from distq.wire.errors import BadCall
from distq.wire.inert import read_call

MIB = 1024 * 1024
HEAD = b"\x80\x04(\x8c\x04work\x8c\x01m"
TAIL = b"\x85}t."


def _tall(top: int, opcode: bytes) -> bytes:
    return b"]" + opcode * top


_PAIRS = b")" + b"2\x86" * 60

BOMBS: dict[str, bytes] = {
    "LONG_BINPUT of four thousand million": HEAD + b"Nr\xff\xff\xff\xff" + TAIL,
    "LONG_BINPUT of a hundred million": HEAD + b"Nr" + struct.pack("<I", 100_000_000) + TAIL,
    "PUT of a hundred million": HEAD + b"Np100000000\n" + TAIL,
    "PUT of more digits than a number has": HEAD + b"Np" + b"9" * 100_000 + b"\n" + TAIL,
    "many LONG_BINPUT, each as large as may be": HEAD + b"N" * 1000 + b"r\xe0\x01\x00\x00" * 1000 + TAIL,
    "BYTEARRAY8 of a terabyte": HEAD + b"\x96" + struct.pack("<Q", 2**40) + TAIL,
    "BINBYTES8 of an exabyte": HEAD + b"\x8e" + struct.pack("<Q", 2**60) + TAIL,
    "BINUNICODE of four gigabytes": HEAD + b"X" + struct.pack("<I", 2**32 - 1) + TAIL,
    "LONG4 of a negative length": HEAD + b"\x8b" + struct.pack("<i", -1) + TAIL,
    "FRAME of an exabyte": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "a tuple as a key, nested a million deep": HEAD + b"})" + b"\x85" * 1_000_000 + b"Ns" + TAIL,
    "a tuple as a key whose hash takes for ever": HEAD + b"}" + _PAIRS + b"Ns" + TAIL,
    "the same in many keys": HEAD + b"}(" + _PAIRS + b"Nu" + TAIL,
    "the same in protocol 0": HEAD + b"(" + _PAIRS + b"Nd" + TAIL,
    "the same in a set": HEAD + b"\x8f(" + _PAIRS + b"\x90" + TAIL,
    "the same in a frozen set": HEAD + b"(" + _PAIRS + b"\x91" + TAIL,
    "the same as a keyword": HEAD + b")}" + _PAIRS + b"Nst.",
    "keys with one hash": HEAD + b"}(" + b"".join(
        b"\x8a\x0c" + (n * (2**61 - 1)).to_bytes(12, "little") + b"N" for n in range(1, 60_000)
    ) + b"u" + TAIL,
    "lists nested a million deep": HEAD + b"]" * 1_000_000 + b"a" * 999_999 + TAIL,
    "tuples nested a million deep": HEAD + _tall(1_000_000, b"\x85") + TAIL,
    "dicts nested a hundred thousand deep": HEAD + b"}\x8c\x01k" * 100_000 + b"}" + b"s" * 100_000 + TAIL,
    "calls nested a million deep": HEAD + b"cos\nsystem\n" + b")R" * 500_000 + TAIL,
    "sixty-four million lists": HEAD + b"]" * (64 * MIB) + b".",
    "two million lists": HEAD + b"]" * 1_990_000 + b".",
    "sixty million things remembered": HEAD + b"N\x94" * (30 * MIB) + b".",
    "ten million assignments": HEAD + b"}" + b"NNs" * 10_000_000 + TAIL,
    "a hundred thousand assignments": HEAD + b"}" + b"NNs" * 100_000 + TAIL,
    "a number of a million digits": HEAD + b"I" + b"9" * 1_000_000 + b"\n" + TAIL,
    "a long of four thousand digits": HEAD + b"L" + b"9" * 4200 + b"L\n" + TAIL,
    "a line without an end": HEAD + b"V" + b"x" * MIB + b".",
    "a million lines without an end": HEAD + b"g" * 1_000_000 + b".",
}  # fmt: skip


def peak_mib() -> float:
    """Return the peak memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Read every bomb, and print what each costs."""
    costs = {}
    for name, frame in BOMBS.items():
        before, started_at = peak_mib(), time.perf_counter()
        try:
            outcome = repr(read_call(frame).method)
        except BadCall as exc:
            outcome = str(exc)
        costs[name] = (round(time.perf_counter() - started_at, 3), round(peak_mib() - before, 1), outcome)
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
