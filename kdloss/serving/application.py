"""The web application: the page, its requests and the answers to them."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kdloss.errors import DataError
from kdloss.serving.models import parse_boxes

PAGE = Path(__file__).parent / "page"
LARGEST_BODY = 20 * 10**6  # bytes
MOST_ARRIVING = 5 * LARGEST_BODY  # bytes, of all bodies on their way
MOST_WAITING = 16  # requests for one model; each holds a whole body
PATIENCE = 30  # seconds for a body to arrive and its model to be free
HEADERS = {
    # No inline script or style, so that text inserted into the page stays text.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def application(models, hosts):
    """The ASGI application.

    It writes nothing to disk, and reads only the files in ``page/``.

    Args:
        models: `ServedModel`\\ s of different names. The page begins with the first one.
        hosts: names of this host that requests may use in their ``Host`` header, without the port; ``*``: any. This
            refuses a foreign page that points its own name here (DNS rebinding).
    """
    models = {model.name: model for model in models}
    arriving = {}  # the deadline of each body on its way, the oldest first -> its bytes so far

    async def page(request):
        return FileResponse(PAGE / "index.html")

    async def describe(request):
        return JSONResponse([model.description() for model in models.values()])

    async def landmarks(request):
        name = request.query_params.get("model", next(iter(models)))
        if name not in models:
            raise HTTPException(404, f"model {name}: expected one of {', '.join(models)}")
        boxes = request.query_params.get("boxes")
        boxes = None if boxes is None else parse_boxes(boxes)
        model = models[name]
        try:
            async with asyncio.timeout(PATIENCE) as deadline:
                body = await _body(request, arriving, deadline)
        except TimeoutError:
            raise HTTPException(
                408, f"image: took over {PATIENCE} seconds, or others needed the room: try again"
            ) from None
        busy = HTTPException(503, f"{name}: busy with other requests: try again", {"Retry-After": "1"})
        if model.waiting >= MOST_WAITING:
            raise busy
        model.waiting += 1
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout_at(deadline.when()):
                    await stack.enter_async_context(model.lock)
                if await request.is_disconnected():
                    raise ClientDisconnect
                return JSONResponse(await run_in_threadpool(model.answer, body, boxes))
        except TimeoutError:
            raise busy from None
        finally:
            model.waiting -= 1

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/models", describe),
            Route("/api/landmarks", landmarks, methods=["POST"]),
            Mount("/static", StaticFiles(directory=PAGE)),
        ],
        middleware=[
            Middleware(Protection),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ],
        exception_handlers={
            HTTPException: lambda request, error: _refusal(error.status_code, error.detail, error.headers),
            DataError: lambda request, error: _refusal(400, str(error)),
            ClientDisconnect: lambda request, error: Response(status_code=400),  # nobody reads it
            Exception: lambda request, error: _refusal(500, "internal error: the server's terminal shows it"),
        },
    )


def _refusal(status, text, headers=None):
    return JSONResponse({"error": " ".join(text.split())}, status, headers)


async def _body(request, arriving, deadline):
    """The body of a request; raises `HTTPException` if it is larger than allowed.

    Slow bodies count for their bytes alone. Where there are too many of those, the longest on its way gives way.
    """
    too_large = HTTPException(413, f"image: expected a file of {LARGEST_BODY / 1e6:g} MB at most: scale it down")
    if int(request.headers.get("content-length", 0)) > LARGEST_BODY:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise too_large
            arriving[deadline] = len(body)
            if sum(arriving.values()) > MOST_ARRIVING:
                oldest = next(iter(arriving))
                del arriving[oldest]
                if not oldest.expired():
                    oldest.reschedule(asyncio.get_running_loop().time())
    finally:
        arriving.pop(deadline, None)
    return bytes(body)


class Protection:
    """ASGI middleware that adds `HEADERS` to every response, and refuses POST and the like from pages of other origins.

    Programs other than browsers state no origin, and are served.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                # The page of a new version must not use cached files of an old one; answers are private.
                headers["Cache-Control"] = "no-store" if scope["path"].startswith("/api/") else "no-cache"
            await send(message)

        if scope["method"] not in ("GET", "HEAD") and _is_foreign(Headers(scope=scope)):
            refusal = JSONResponse({"error": "a page of another origin may not ask this one"}, 403)
            await refusal(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


def _is_foreign(headers):
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        found = urlsplit(origin)
    except ValueError:
        return True
    # Behind a proxy the page's scheme may be another than that of its requests here.
    return found.scheme not in ("http", "https") or found.netloc.lower() != headers.get("host", "").lower()
