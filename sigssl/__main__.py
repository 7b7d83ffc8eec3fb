"""`python -m sigssl` is `sigssl`."""

import sys

from sigssl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
