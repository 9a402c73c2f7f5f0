"""What is fast, what is robust, and how much: measurements, each a command of its own.

They share players and hostile messages with the tests.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
