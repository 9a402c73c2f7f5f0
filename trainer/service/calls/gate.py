"""Authenticates each call, checks the method's permissions, and writes the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import grpc

from sumgrad.trainer.service.access.audit import Audit
from sumgrad.trainer.service.access.authentication import Authenticator
from sumgrad.trainer.service.access.caller import LOCAL_ADMIN, Caller, NotAllowedError, set_caller
from sumgrad.trainer.service.access.permissions import PERMISSIONS, Rule
from sumgrad.trainer.service.api.run_errors import RunNotFoundError
from sumgrad.trainer.service.calls.errors_to_status import outcome
from sumgrad.trainer.service.calls.interceptor import Answering, Interceptor, wrapped
from sumgrad.trainer.v1 import run_pb2

REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED")


class Gate(Interceptor):
    """The interceptor that every call of every method passes.

    Args:
        authenticator: None where calls need no token.
        find: a run by its id; raises RunNotFoundError.
    """

    def __init__(
        self,
        authenticator: Authenticator | None,
        find: Callable[[str], Awaitable[run_pb2.Run]],
        audit: Audit,
    ) -> None:
        super().__init__()
        self._authenticator = authenticator
        self._find = find
        self._audit = audit

    def wrap(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        @asynccontextmanager
        async def guarding(
            request: Any, context: grpc.aio.ServicerContext
        ) -> AsyncIterator[Answering]:
            call = _Call(method, PERMISSIONS.get(method), request, context)
            code = "OK"
            try:
                await self._admit(call)

                async def answering(response: Any) -> None:
                    """Send no response to a caller whose token has ended meanwhile."""
                    call.saw(response)
                    if call.caller is not None and self._authenticator is not None:
                        await self._identify(call)

                yield answering
            except BaseException as error:
                code = outcome(error, context)
                raise
            finally:
                self._note(call, code)

        return wrapped(handler, guarding)

    async def _admit(self, call: _Call) -> None:
        """Check that the call's rule allows it.

        Raises:
            NotAuthenticatedError, NotAllowedError, RunNotFoundError, StoreUnavailableError
        """
        rule = call.rule
        if rule is not None and rule.least is None:
            return
        await self._identify(call)
        assert call.caller is not None
        try:
            if rule is None or not call.caller.role.includes(rule.least):  # type: ignore[arg-type]
                raise NotAllowedError(call.caller, call.method)
            if rule.run and call.caller.owner is not None:
                await self._require_own(call.caller, call.run)
        except (NotAllowedError, RunNotFoundError):
            call.refused = True
            raise
        set_caller(call.caller)

    async def _identify(self, call: _Call) -> None:
        """Find out who calls. Raises NotAuthenticatedError, StoreUnavailableError."""
        if self._authenticator is None:
            call.caller = LOCAL_ADMIN
            return
        metadata = call.context.invocation_metadata() or ()
        call.caller = await self._authenticator.caller(metadata)

    async def _require_own(self, caller: Caller, run_id: str) -> None:
        """Answer for another user's run exactly as for one that does not exist."""
        if not caller.sees(await self._find(run_id)):
            raise RunNotFoundError(run_id)

    def _note(self, call: _Call, code: str) -> None:
        changes = call.rule is not None and call.rule.changes
        if not (changes or call.refused or code in REFUSALS):
            return
        self._audit.event(
            user=call.caller.user if call.caller else "",
            role=call.caller.role.value if call.caller else "",
            method=call.method,
            run=call.run,
            peer=unquote(call.context.peer()),
            outcome=code,
        )


class _Call:
    """What is known of one call.

    Attributes:
        caller: None until it is known, and for methods that ask for no token.
        run: id of the run that the call is about, or empty.
        refused: whether the gate refused the call.
    """

    def __init__(
        self, method: str, rule: Rule | None, request: Any, context: grpc.aio.ServicerContext
    ) -> None:
        self.method = method
        self.rule = rule
        self.context = context
        self.caller: Caller | None = None
        self.refused = False
        named = rule.run if rule is not None and rule.run else "id"
        self.run = str(getattr(request, named, ""))

    def saw(self, response: Any) -> None:
        """Take the run's id from the response: a submission's request has none."""
        if not self.run:
            self.run = str(getattr(getattr(response, "run", None), "id", ""))
