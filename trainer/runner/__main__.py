"""The entry point of every run's Ray job."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping

import ray

from sumgrad.trainer.runner.runner import run
from sumgrad.trainer.runner.upstream.protocol import ServiceGoneError
from sumgrad.trainer.runner.upstream.service import ServiceUpstream

_LOG = logging.getLogger(__name__)


def job_metadata(environment: Mapping[str, str]) -> dict[str, str]:
    """What the service submitted with the job, as Ray passes it to the job's driver."""
    metadata: dict[str, str] = json.loads(environment["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]
    return metadata


def main() -> int:
    upstream = ServiceUpstream(job_metadata(os.environ))
    upstream.log.own.capture()
    try:
        ray.init("auto", log_to_driver=False, logging_level=logging.WARNING)
        run(upstream)
    except ServiceGoneError as error:
        print(f"the runner gives up: {error}", file=sys.stderr)
        return 1
    except Exception:
        _LOG.exception("the runner fails")
        raise
    finally:
        with contextlib.suppress(ServiceGoneError):
            upstream.send_and_wait()
        ray.shutdown()
        upstream.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
