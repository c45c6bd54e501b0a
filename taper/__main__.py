"""`python -m taper` is the command `taper`."""

from __future__ import annotations

import sys

from taper.cli import main

if __name__ == "__main__":
    sys.exit(main())
