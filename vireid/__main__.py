"""``python -m vireid`` is the command ``vireid``."""

import sys

from vireid.cli import main

if __name__ == "__main__":
    sys.exit(main())
