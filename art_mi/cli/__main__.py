"""`python -m art_mi.cli`, for launchers such as torchrun."""

import sys

from art_mi.cli import main

if __name__ == "__main__":
    sys.exit(main())
