"""What keeps other pages in the same browser away from this one, and this page from anything outside."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

HEADERS = {
    # No inline script or style: text that finds its way into the page stays text.
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


class Protection:
    """ASGI middleware: refuses requests that change or cost something if a page of another origin sends them, and adds
    `HEADERS` to every response. Programs that are no browsers state no origin, and are served."""

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
                # A newer version's page must not run the files of an older one; answers are nobody else's.
                headers["Cache-Control"] = "no-store" if scope["path"].startswith("/api/") else "no-cache"
            await send(message)

        if scope["method"] not in ("GET", "HEAD") and _from_elsewhere(Headers(scope=scope), scope["scheme"]):
            refusal = JSONResponse({"error": "a page of another origin may not ask this one"}, 403)
            await refusal(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


def _from_elsewhere(headers, scheme):
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        found = urlsplit(origin)
    except ValueError:
        return True
    return (found.scheme, found.netloc.lower()) != (scheme, headers.get("host", "").lower())
