"""What can the command line, ``sumgrad``, do?"""

import os

# Before gRPC is loaded, which else writes transport details to stderr by itself; errors are told
# in our own words.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
