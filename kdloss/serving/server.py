"""The web server: it says when it listens, and closes connections on which no request arrives."""

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from kdloss.serving.application import PATIENCE


def server(app, address):
    """The `uvicorn.Server` of an ASGI application. It prints its address once it listens."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=5,
    )
    return _Server(config, address)


class _Server(uvicorn.Server):
    def __init__(self, config, address):
        super().__init__(config)
        self._address = address

    async def startup(self, sockets=None):
        await super().startup(sockets=sockets)
        # From now on the server handles signals, so a program that reads this line may end it.
        print(self._address, flush=True)


class _Protocol(H11Protocol):
    """uvicorn waits without end for the headers of a request that has begun."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self.loop.call_later(PATIENCE, self._close_without_request, None)

    def _close_without_request(self, last):
        """Closes the connection unless a request is being answered, or has been since ``last``."""
        if self.transport.is_closing():
            return
        if self.cycle is last and (last is None or last.response_complete):
            self.transport.close()
        else:
            self.loop.call_later(PATIENCE, self._close_without_request, self.cycle)
