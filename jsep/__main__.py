"""`python -m jsep`."""

import sys

from jsep.cli import main

sys.exit(main())
