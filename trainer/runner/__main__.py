"""The entry point of every run's Ray job."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping

import ray

from sumgrad.trainer.runner.runner import Runner
from sumgrad.trainer.runner.upstream.protocol import ServiceGoneError
from sumgrad.trainer.runner.upstream.service import ServiceLink

_LOG = logging.getLogger(__name__)


def handed_over(environment: Mapping[str, str]) -> dict[str, str]:
    """What the service gave with the job: its metadata, as Ray tells a job's driver."""
    found: dict[str, str] = json.loads(environment["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]
    return found


def main() -> int:
    link = ServiceLink(handed_over(os.environ))
    link.log.own.capture()
    try:
        ray.init("auto", log_to_driver=False, logging_level=logging.WARNING)
        Runner(link).run()
    except ServiceGoneError as error:
        print(f"the run is given up: {error}", file=sys.stderr)
        return 1
    except Exception:
        _LOG.exception("the runner fails")
        raise
    finally:
        with contextlib.suppress(ServiceGoneError):
            link.ask()
        ray.shutdown()
        link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
