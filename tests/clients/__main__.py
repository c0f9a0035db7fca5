"""The table of clients × ids: `make clients` installs the clients in an environment of their own and fills it.

`python -m tests.clients torchrl` has one of them live in every registered environment. A line for each says "ok" or
what went wrong; the exit status is 1 if anything did. Several clients run one after the other, each in a process of its
own: TorchRL changes how processes are started, and what the next one would do.
"""

import argparse
import importlib
import subprocess
import sys
import traceback
import warnings

import gymnasium

import plastic_envs  # noqa: F401  # registers its environments

CLIENTS = ("torchrl", "tianshou", "zoo", "cleanrl")
IDS = sorted(name for name in gymnasium.registry if name.startswith("plastic_envs/"))


def main() -> int:
    """Try every use of the clients that are asked for on every id."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="*", default=CLIENTS, help=f"any of {', '.join(CLIENTS)}; by default all")
    parser.add_argument("--ids", nargs="+", default=IDS, choices=IDS)
    args = parser.parse_args()
    if len(args.clients) > 1:
        command = [sys.executable, "-m", "tests.clients"]
        return max([subprocess.run([*command, client, "--ids", *args.ids]).returncode for client in args.clients])
    warnings.simplefilter("ignore")
    failed = 0
    (client,) = args.clients
    uses = importlib.import_module(f"tests.clients.{client}_client").USES
    for name in args.ids:
        for use, run in uses.items():
            try:
                run(name)
                told = "ok"
            except Exception as error:  # whatever a client raises belongs into the table
                traceback.print_exc()
                told = f"{type(error).__name__}: {error}".splitlines()[0]
                failed += 1
            print(f"{client:9} {use:33} {name:40} {told}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
