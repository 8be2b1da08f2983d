"""Leaves out the tests with arrays where NumPy and scikit-learn have no wheels yet, as in pyproject.toml."""

import sys

collect_ignore = ["test_arrays.py"] if sys.version_info >= (3, 15) else []
