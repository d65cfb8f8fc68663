"""``python -m mmcl``: the command line, safe from files in the working folder that are named like ours."""

import sys
from pathlib import Path

# "python -m" puts the working folder first on the path, where a user's evaluation.py or datasets.py would be taken for
# the packages of those names. Where the folder is the repository itself, it stays: there they are the packages.
if not getattr(sys.flags, "safe_path", False) and Path(sys.path[0]).resolve() != Path(__file__).resolve().parent.parent:
    del sys.path[0]

from mmcl.cli.main import run

if __name__ == "__main__":
    run()
