"""The entry point of every run's Ray job."""

from __future__ import annotations

import os
import sys

from trainer.runner.runner import Runner
from trainer.runner.service_link import ServiceGoneError, ServiceLink


def main() -> int:
    link = ServiceLink(os.environ)
    try:
        Runner(link).run()
    except ServiceGoneError as error:
        print(f"the run is given up: {error}", file=sys.stderr)
        return 1
    finally:
        link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
