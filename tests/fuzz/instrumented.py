"""One process of the fuzzer: it counts which lines of distq an input reaches. `tests.fuzz.run` starts it."""

import sys
import warnings

import atheris

warnings.simplefilter("ignore")  # of the modules that atheris changes, not of distq
with atheris.instrument_imports(include=["distq"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
