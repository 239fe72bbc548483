"""`python -m pcbook`: run the recorded experiments again, extend and check them."""

import sys

from pcbook.cli import main

if __name__ == "__main__":  # not when a test or a worker imports it
    sys.exit(main())
