"""`python -m vaultlayer_agent --boot FILE`."""

import sys

from vaultlayer_agent.main import main

sys.exit(main())
