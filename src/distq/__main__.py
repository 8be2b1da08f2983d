"""`python -m distq` is `distq`."""

import sys

from distq.cli import main

if __name__ == "__main__":
    sys.exit(main())
