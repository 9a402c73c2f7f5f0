"""Calls of a Ray cluster's dashboard over HTTP: its nodes, jobs and packages of code.

Not ``ray.job_submission``: its calls have no time limit, and RAY_ADDRESS in the environment
overrides the address that it is given.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from sumgrad.trainer.errors import UnavailableError

CALL_SECONDS = 10.0
SUBMIT_SECONDS = 60.0
"""Longer: Ray answers a submission when it has started the job's supervisor process."""


class RayError(UnavailableError):
    """Ray did not start, did not answer, or refused."""


class RayUnreachableError(RayError):
    """The cluster did not answer; it may have carried out the request."""


class RayApi:
    """One cluster's dashboard.

    Args:
        dashboard: URL, without a path.
        headers: HTTP headers that authorize calls; never shown.
    """

    def __init__(self, dashboard: str, headers: Mapping[str, str]) -> None:
        self._dashboard = dashboard.rstrip("/")
        self._headers = dict(headers)
        # The cluster is on this machine or in its network: never behind the environment's proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def version(self) -> str:
        """The version of Ray that the cluster runs.

        Raises:
            RayError
        """
        return str(self._get("/api/version")["ray_version"])

    def cpus(self) -> tuple[float, ...]:
        """CPUs of each live node.

        Raises:
            RayError
        """
        found = self._get("/api/v0/nodes?detail=true&limit=10000")
        alive = [n for n in found["data"]["result"]["result"] if n["state"] == "ALIVE"]
        return tuple(float(node["resources_total"].get("CPU", 0)) for node in alive)

    def submit(
        self,
        job: str,
        entrypoint: str,
        runtime_env: Mapping[str, Any],
        metadata: Mapping[str, str],
    ) -> None:
        """Run a job, unless the cluster has one of this name already.

        Args:
            job: its name.
            metadata: passed to the job's driver alone.

        Raises:
            RayError
        """
        body = {
            "entrypoint": entrypoint,
            "submission_id": job,
            "runtime_env": runtime_env,
            "metadata": metadata,
        }
        try:
            self._call("POST", "/api/jobs/", json.dumps(body).encode(), SUBMIT_SECONDS)
        except RayError as error:
            if "already exists" not in str(error):
                raise

    def status(self, job: str) -> str | None:
        """Ray's name for the job's state, or None if the cluster does not know the job.

        Raises:
            RayError
        """
        found = self._get(f"/api/jobs/{job}")
        return None if found is None else str(found["status"])

    def logs(self, job: str) -> str:
        """The output of the job's driver; empty if the cluster does not know the job.

        Raises:
            RayError
        """
        found = self._get(f"/api/jobs/{job}/logs")
        return "" if found is None else str(found["logs"] or "")

    def stop(self, job: str) -> None:
        """End the job's processes, if the cluster knows the job.

        Raises:
            RayError
        """
        self._call("POST", f"/api/jobs/{job}/stop")

    def put_package(self, name: str, content: bytes) -> str:
        """Upload a package of code unless the cluster has it; return the URI that jobs name.

        Raises:
            RayError
        """
        if self._call("GET", f"/api/packages/gcs/{name}") is None:
            self._call("PUT", f"/api/packages/gcs/{name}", content, SUBMIT_SECONDS)
        return f"gcs://{name}"

    def _get(self, path: str) -> Any:
        """The JSON of the response, or None for what does not exist. Raises RayError."""
        content = self._call("GET", path)
        try:
            return None if content is None else json.loads(content)
        except ValueError:
            raise self._no_ray() from None

    def _call(
        self, method: str, path: str, body: bytes | None = None, seconds: float | None = None
    ) -> bytes | None:
        """The body of the response, or None for what does not exist.

        Raises:
            RayUnreachableError: the cluster may or may not have carried out the request.
            RayError: the cluster refused.
        """
        request = urllib.request.Request(self._dashboard + path, body, method=method)
        request.add_header("Content-Type", "application/octet-stream")
        for name, value in self._headers.items():
            # Not sent on when the response redirects elsewhere.
            request.add_unredirected_header(name, value)
        try:
            with self._opener.open(request, timeout=seconds or CALL_SECONDS) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(10_000).decode(errors="replace")
            if error.code == HTTPStatus.NOT_FOUND and "does not exist" in said:
                return None
            raise self._refusal(error.code, said) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise RayUnreachableError(
                f"the Ray cluster at {self._dashboard} does not answer: {reason}"
            ) from None

    def _refusal(self, code: int, said: str) -> RayError:
        if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return RayUnreachableError(
                f"the Ray cluster at {self._dashboard} needs a valid token; put it "
                "into RAY_AUTH_TOKEN, or its file's path into RAY_AUTH_TOKEN_PATH"
            )
        if code == HTTPStatus.NOT_FOUND:
            return self._no_ray()
        lines = said.strip().splitlines()
        last = lines[-1][:500] if lines else "nothing more"
        kind = RayUnreachableError if code >= HTTPStatus.INTERNAL_SERVER_ERROR else RayError
        return kind(f"the Ray cluster at {self._dashboard} answered {code}: {last}")

    def _no_ray(self) -> RayError:
        return RayUnreachableError(f"what answers at {self._dashboard} takes no Ray jobs")
