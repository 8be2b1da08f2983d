"""A task whose decorator declares a schedule, for the tests of signed payloads."""

import distq


@distq.task(name="ticks", every=0.5)
def ticks() -> str:
    """Return a text at each scheduled run."""
    return "tick"
