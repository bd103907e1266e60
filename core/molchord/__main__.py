"""``python -m molchord`` is the command line."""

import sys

from molchord.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
