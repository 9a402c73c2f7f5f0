"""The entry point of every run's Ray job."""

from __future__ import annotations

import os
import sys

import ray

from trainer.runner.link import ServiceGoneError
from trainer.runner.runner import Runner
from trainer.runner.service_link import ServiceLink


def main() -> int:
    link = ServiceLink(os.environ)
    try:
        ray.init("auto", log_to_driver=False)
        Runner(link).run()
    except ServiceGoneError as error:
        print(f"the run is given up: {error}", file=sys.stderr)
        return 1
    finally:
        ray.shutdown()
        link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
