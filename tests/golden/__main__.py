"""`python -m tests.golden [FILE…]`: replay traces, a line each; exit status 1 if any misses the tolerance."""

import sys
import zipfile
from pathlib import Path

from tests.golden import FOLDER, check


def main(names: list[str]) -> int:
    """Replay the named files, or all that lie here."""
    missed = False
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.npz")):
        try:
            verdict = check(path)
        except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            print(f"{path.name}: FAIL {type(error).__name__}: {error}")
            missed = True
            continue
        word = f"FAIL at {', '.join(verdict.misses)}" if verdict.misses else "ok"
        print(f"{path.name}: values {verdict.values:.1e}, gradients {verdict.gradients:.1e}, {word}")
        missed |= bool(verdict.misses)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
