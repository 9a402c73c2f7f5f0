"""Deletes a run that has ended, with its files."""

from __future__ import annotations

import asyncio
import shutil

from sumgrad.trainer.record import states
from sumgrad.trainer.service.api.run_errors import RunFilesError, RunNotFoundError
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.service.store.run_store import RunNotEndedError


async def delete(runs: Runs, run_id: str) -> None:
    """Delete the run's folder, and then the run.

    Raises:
        RunNotFoundError, RunNotEndedError, RunFilesError
    """
    stored = await runs.get(run_id)
    if not states.ended(stored.run):
        raise RunNotEndedError(run_id)
    # First, so that a deletion that breaks off can be asked for again.
    try:
        await asyncio.to_thread(shutil.rmtree, runs.directory(run_id))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunFilesError(
            run_id, f"the files of run {run_id} cannot be deleted, so it is kept: {error}"
        ) from None
    await runs.logs.forget(run_id)
    if not await runs.write(runs.store.delete, run_id):
        raise RunNotFoundError(run_id)
    runs.watching.announce(run_id, 0)
