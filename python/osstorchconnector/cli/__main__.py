"""`python -m osstorchconnector.cli`."""

from __future__ import annotations

import sys

from osstorchconnector.cli import main

sys.exit(main())
