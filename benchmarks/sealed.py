"""The cost of signed and encrypted payloads: microseconds to seal and to open a body.

python -m benchmarks.sealed
"""

import time
from collections.abc import Callable

from distq.tasks.seal import Sealer, SealSecrets, context_of, new_seal_id
from distq.tasks.sealed import PAYLOADS, Seal, SealKind

SECRET = b"a key of the benchmark, long enough"
SIZES = (100, 10_000, 1_000_000)
SECONDS = 0.5
"""Seconds for which each figure is measured."""


def main() -> None:
    """Print the figures."""
    kinds = {
        "signed": SealSecrets(signing=(SECRET,)),
        "encrypted": SealSecrets(encryption=(SECRET,)),
        "signed and encrypted": SealSecrets((SECRET,), (SECRET,)),
    }
    print(f"{'':22}{'body':>12}{'seal':>12}{'open':>12}")
    for name, secrets in kinds.items():
        sealer = Sealer(secrets)
        for size in SIZES:
            content, context = bytes(size), context_of("default", "module:function")

            def seal(sealer: Sealer = sealer, content: bytes = content, context: bytes = context) -> bytes:
                given = Seal(SealKind.TASK, new_seal_id(), is_encrypted=sealer.encrypts)
                return sealer.seal(given, content, context)

            sealed = seal()

            def opened(sealer: Sealer = sealer, sealed: bytes = sealed, context: bytes = context) -> object:
                return sealer.open(sealed, PAYLOADS, context)

            print(f"{name:22}{size:>10,} B{microseconds(seal):>9.1f} µs{microseconds(opened):>9.1f} µs")


def microseconds(work: Callable[[], object]) -> float:
    """Return the microseconds of one call."""
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        for _ in range(100):
            work()
        count += 100
    return took / count * 1e6


if __name__ == "__main__":
    main()
