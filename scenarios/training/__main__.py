"""`farlink train` by another door, for several processes: `accelerate launch -m scenarios.training control ...`."""

import sys

from scenarios.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
