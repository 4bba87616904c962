"""``python -m iclgd`` is ``iclgd``."""

import sys

from iclgd.cli import main

if __name__ == "__main__":
    sys.exit(main())
