"""The application under conditions that a running server seldom meets; the models are stand-ins."""

import asyncio
import json
import threading

import pytest

from kdloss.serving import application as module
from kdloss.serving.application import application


class StandIn:
    """A model that answers with the length of its data, once ``may`` is set."""

    def __init__(self, fails=False):
        self.name, self.lock, self.waiting = "stand-in", asyncio.Lock(), 0
        self.may, self.fails, self.at_once, self.most_at_once = threading.Event(), fails, 0, 0

    def answer(self, data, boxes):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.may.wait(10)
        self.at_once -= 1
        if self.fails:
            raise RuntimeError("a secret of the server's")
        return {"length": len(data)}


async def post(app, *messages):
    """Status and body of a request whose body comes in these ASGI messages, then no more."""
    messages, sent = list(messages), []

    async def receive():
        return messages.pop(0) if messages else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/api/landmarks", "raw_path": b"/api/landmarks", "root_path": "",
        "query_string": b"", "scheme": "http", "headers": [(b"host", b"localhost")], "http_version": "1.1",
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    try:
        await app(scope, receive, send)
    except RuntimeError as error:  # handed on for the server's log
        sent.append(error)
    return sent[0]["status"], sent[1]["body"], dict(sent[0]["headers"])


WHOLE = {"type": "http.request", "body": b"12345", "more_body": False}
PART = {**WHOLE, "more_body": True}
GONE = {"type": "http.disconnect"}


def test_one_request_is_answered_at_a_time_and_few_may_wait(monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    model = StandIn()
    app = application([model], ["localhost"])

    async def ask():
        three = [asyncio.create_task(post(app, WHOLE)) for _ in range(3)]
        while model.waiting < 3 or not model.at_once:
            await asyncio.sleep(0.01)
        fourth = await post(app, WHOLE)
        model.may.set()
        return fourth, await asyncio.gather(*three), await post(app, WHOLE)

    (status, body, headers), three, later = asyncio.run(ask())
    assert status == 503
    assert json.loads(body) == {"error": "stand-in: busy with other requests: try again"}
    assert headers[b"retry-after"] == b"1"
    assert [(status, json.loads(body)) for status, body, _ in [*three, later]] == [(200, {"length": 5})] * 4
    assert (model.most_at_once, model.waiting) == (1, 0)


@pytest.mark.parametrize(("messages", "status"), [([], 408), ([PART], 408), ([PART, GONE], 400)])
def test_a_body_that_does_not_arrive_holds_no_place(monkeypatch, messages, status):
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    model = StandIn()
    assert asyncio.run(post(application([model], ["localhost"]), *messages))[0] == status
    assert model.waiting == 0


def test_internal_errors_reveal_nothing():
    model = StandIn(fails=True)
    model.may.set()
    status, body, _ = asyncio.run(post(application([model], ["localhost"]), WHOLE))
    assert (status, json.loads(body)) == (500, {"error": "internal error: the server's terminal shows it"})
    assert model.waiting == 0
