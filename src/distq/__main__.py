"""`python -m distq` is `distq`."""

import sys

if __name__ == "__main__":
    # The current folder comes first here: a file in it that is called as a module of the standard library breaks that.
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))

    from distq.cli import main

    sys.exit(main())
