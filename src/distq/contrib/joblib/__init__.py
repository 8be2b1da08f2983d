"""Runs `joblib.Parallel` on the workers of a distq cluster; needs the extra `distq[joblib]`.

import distq.contrib.joblib

distq.contrib.joblib.register()
with joblib.parallel_config("distq"):
joblib.Parallel()(joblib.delayed(math.sqrt)(n) for n in range(10))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distq.client.unsendable import ExtraMissing

if TYPE_CHECKING:
    from distq.contrib.joblib.backend import JoblibBackend

NAME = "distq"
"""The name of the backend in `joblib.parallel_config`."""


def register() -> None:
    """Make joblib know the backend `distq`, with the parameters of `JoblibBackend`.

    Raises:
        ExtraMissing: joblib or cloudpickle is not installed.
    """
    try:
        import cloudpickle  # noqa: F401, PLC0415 - as below
        import joblib  # noqa: PLC0415 - the module of a worker's function has no need of it
    except ImportError:
        raise ExtraMissing("distq.contrib.joblib.register() needs joblib: pip install 'distq[joblib]'.") from None
    joblib.register_parallel_backend(NAME, _backend)


def _backend(**parameters: Any) -> JoblibBackend:
    from distq.contrib.joblib.backend import JoblibBackend  # noqa: PLC0415 - it imports joblib

    return JoblibBackend(**parameters)
