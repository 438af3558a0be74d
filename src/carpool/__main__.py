"""`python -m carpool`: the same as the `carpool` command.

Room: cli. Nothing of its own.
"""

from carpool.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
