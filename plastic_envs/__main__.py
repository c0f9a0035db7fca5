"""`python -m plastic_envs`, the command line without an installed script."""

import sys

if __name__ == "__main__":
    # Here alone, and late: this package is the ground that agents and searchers stand on, and knows neither of them.
    from evolution.cli import main

    sys.exit(main())
