"""`python -m evolution.cli`, the command line without an installed script."""

import sys

from evolution.cli import main

if __name__ == "__main__":
    sys.exit(main())
