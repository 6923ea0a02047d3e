"""Prefect's record of a run, when its server does not last as long as the run.

A server that is slow, or that is started again, is waited for. One that is gone stops nobody: the flow goes on, for all
its steps need is on disk, its end is taken in the server's place, and the user is told that the record is incomplete.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
from prefect.context import SyncClientContext

from flows.running.failures import ServerError
from flows.running.server import Server, kill_all

# How long a server may be away, the longest wait for one that works, and between two attempts.
PATIENCE_SECONDS, _SLOWEST_SECONDS, _AGAIN_SECONDS = 15.0, 300.0, 0.5
_HEALTH_SECONDS, _MOST_RESTARTS = 5.0, 3
_FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

# Why servers were given up, in this process.
_lost: list[str] = []


def leave(code: int) -> None:
    """End this process now if its server was given up: Prefect would try for minutes to send what it has for it."""
    if _lost:
        kill_all()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def recorded(server: Server | None) -> Iterator[None]:
    """Flows in here outlive their server; None stands for one that others started.

    Raises ServerError for a flow that begins when the server is gone.
    """
    context = SyncClientContext(httpx_settings={"timeout": PATIENCE_SECONDS})
    http = context.client._client  # noqa: SLF001 - a transport of ours, given beforehand, would lose the user's proxies
    http._transport = Lasting(http._transport, server)  # noqa: SLF001
    http._mounts = {key: inner and Lasting(inner, server) for key, inner in http._mounts.items()}  # noqa: SLF001
    logging.raiseExceptions = False  # lines of the log that cannot be sent are Prefect's affair
    with context:
        yield


class Lasting(httpx.BaseTransport):
    """Passes requests on; takes the end of a flow run in place of a server that is gone, and says so."""

    def __init__(self, inner: httpx.BaseTransport, server: Server | None) -> None:
        self._inner = inner
        self._server = server
        self._met = False
        self._restarts = _MOST_RESTARTS

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, waited for. Raises ServerError where there will be none, unless a flow run ends."""
        while not _lost or self._restarted(request):
            if (answer := self._asked(request)) is not None:
                return answer
        return self._instead(request)

    def _asked(self, request: httpx.Request) -> httpx.Response | None:
        """The answer; None when the server is given up."""
        began = failing = time.monotonic()
        if self._server:
            self._server.watch()
        while True:
            try:
                response = self._inner.handle_request(request)
            except httpx.TransportError as failure:
                if isinstance(failure, httpx.ConnectError) and not self._met and not self._server:
                    raise  # an address at which there never was a server
                reason = "does not answer" if isinstance(failure, httpx.TimeoutException) else "is gone"
                if isinstance(failure, httpx.TimeoutException) and self._is_slow(request):
                    failing = time.monotonic()
            else:
                if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    self._met = True
                    return response
                response.read()
                reason = f"answers {response.status_code} {response.reason_phrase}"
            trouble = self._server.trouble() if self._server else None
            now = time.monotonic()
            if trouble or now - failing >= PATIENCE_SECONDS or now - began >= _SLOWEST_SECONDS:
                _lost.append(self._describe(trouble or reason, request))
                return None
            time.sleep(_AGAIN_SECONDS)

    def _restarted(self, request: httpx.Request) -> bool:
        """Whether a server of ours is there again, for a flow that begins; for the end of one nobody waits."""
        if not self._server or not self._restarts or _proposed(request).get("type") in _FINAL:
            return False
        self._restarts -= 1
        self._server.restart()
        _lost.clear()
        return True

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _is_slow(self, request: httpx.Request) -> bool:
        """Whether a server that did not answer in time still works."""
        if self._server:
            return self._server.trouble() is None
        path = request.url.path.partition("/api/")[0] + "/api/health"
        url = request.url.copy_with(path=path, query=None)
        question = httpx.Request("GET", url, extensions={"timeout": httpx.Timeout(_HEALTH_SECONDS).as_dict()})
        try:
            self._inner.handle_request(question).read()
        except httpx.TransportError:
            return False
        return True

    def _describe(self, reason: str, request: httpx.Request) -> str:
        if self._server:
            return f"the temporary Prefect server {reason}"
        return f"the Prefect server at '{request.url.scheme}://{request.url.netloc.decode()}' {reason}"

    def _instead(self, request: httpx.Request) -> httpx.Response:
        """What a server would say that accepts the end of a flow run."""
        state = _proposed(request)
        if state.get("type") not in _FINAL:
            way_out = "run it again" if self._server else "start it, or unset PREFECT_API_URL for a temporary one"
            raise ServerError(f"{_lost[0]}: {way_out}; what is done is kept")
        print(f"note: {_lost[0]}; only Prefect's record of this run is incomplete", file=sys.stderr)
        accepted = {"state": {"id": str(uuid4()), **state}, "status": "ACCEPT", "details": {"type": "accept_details"}}
        return httpx.Response(httpx.codes.CREATED, json=accepted, request=request)


def _proposed(request: httpx.Request) -> dict[str, Any]:
    """The state that a flow run is to have; empty for other requests."""
    if not request.url.path.endswith("/set_state"):
        return {}
    state: dict[str, Any] = json.loads(request.read())["state"]
    return state
