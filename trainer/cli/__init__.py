"""What can the command line do? It is ``sumgrad``: its verbs, options, output and exit codes."""

import os

# Set before gRPC is loaded, so that it does not write transport details to stderr: the command
# words each error itself.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
