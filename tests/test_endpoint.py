"""An endpoint writes captions: what it is asked, and how little harm its answers can do."""

import http.server
import json
import threading
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

from link.errors import UsageError
from sender.vlm import KEY_VARIABLE, EndpointCaptioner, endpoint


@contextmanager
def server(status=200, body=b"", headers=(), drip_s=0.0):
    """A server on this machine that gives one answer to everything; yields its address and what it was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            asked.append((self.path, dict(self.headers), self.rfile.read(length)))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for byte in range(len(body)) if drip_s else ():
                if stop.wait(drip_s):
                    return
                self.wfile.write(body[byte : byte + 1])
            if not drip_s:
                self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    stop = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}/v1", asked
        finally:
            stop.set()
            listening.shutdown()
            thread.join()


def completion(content):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


PIXELS = np.full((12, 16, 3), 90, np.uint8)


def test_an_endpoint_is_asked_with_the_picture(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret")
    with server(body=completion("A quiet street,\nwith two cars.")) as (url, asked):
        caption = EndpointCaptioner(url, "qwen2.5vl", 5, timeout_s=5).caption(PIXELS)
    assert caption == "A quiet street, with two"
    ((path, headers, body),) = asked
    question = json.loads(body)
    words, picture = question["messages"][0]["content"]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer sk-secret"
    assert question["model"] == "qwen2.5vl" and question["temperature"] == 0
    assert "at most 5 words" in words["text"]
    data = urllib.request.urlopen(picture["image_url"]["url"]).read()
    from link import png

    assert (png.decode(data) == PIXELS).all()


def test_no_key_is_sent_where_there_is_none(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with server(body=completion("ok")) as (url, asked):
        assert EndpointCaptioner(url + "/chat/completions", "m", 5, timeout_s=5).caption(PIXELS) == "ok"
    assert "Authorization" not in asked[0][1] and asked[0][0] == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no chat completion"),
        (b"<html>", "no chat completion"),
        (b"\xff\xfe", "no chat completion"),
        (b"[" * 60_000, "no chat completion"),
        (b"{}", "no chat completion"),
        (b'{"choices": []}', "no chat completion"),
        (b'{"choices": {"0": 1}}', "no chat completion"),
        (completion(None), "no caption"),
        (completion([{"text": "x"}]), "no caption"),
        (completion(" \n"), "no caption"),
        (completion("\u001b\u0007"), "no caption"),
        (completion("x" * 65536), "longer than 65536 bytes"),
    ],
)
def test_bad_answers_are_one_line(body, reason):
    with server(body=body) as (url, _):
        with pytest.raises(UsageError, match=reason) as refused:
            EndpointCaptioner(url, "m", 9, timeout_s=5, api_key="sk-secret").caption(PIXELS)
    assert url in str(refused.value) and str(refused.value).isprintable()


def test_a_refusal_says_why_without_the_key():
    with server(401, b'{"error": "\x1b[2Jno such key\n"}') as (url, _):
        with pytest.raises(UsageError, match=r"HTTP 401 Unauthorized .*no such key") as refused:
            EndpointCaptioner(url + "?api-version=x&key=sk-query", "m", 9, 5, api_key="sk-secret").caption(
                PIXELS
            )
    message = str(refused.value)
    assert url in message and "sk-" not in message and message.isprintable()


def test_redirects_are_not_followed():
    with server(body=completion("stolen")) as (elsewhere, asked):
        for status in (301, 302, 303, 307, 308):
            with server(status, headers=[("Location", elsewhere)]) as (url, _):
                with pytest.raises(UsageError, match=f"HTTP {status}"):
                    EndpointCaptioner(url, "m", 9, 5, api_key="sk-secret").caption(PIXELS)
        assert not asked


@pytest.mark.parametrize("drip_s", [0.02, 5.0])
def test_an_answer_that_drips_is_not_waited_for(drip_s):
    with server(body=completion("x" * 3000), drip_s=drip_s) as (url, _):
        began = time.monotonic()
        with pytest.raises(OSError, match=r"no answer in|timed out") as late:
            EndpointCaptioner(url, "m", 9, timeout_s=0.3).caption(PIXELS)
        assert time.monotonic() - began < 3
    assert url in str(late.value)


def test_nobody_there():
    with server() as (url, _):
        pass
    with pytest.raises(OSError, match="refused") as refused:
        EndpointCaptioner(url, "m", 9, timeout_s=5).caption(PIXELS)
    assert url in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000/v1",
        "file:///etc/passwd",
        "ftp://127.0.0.1/v1",
        "http://",
        "http:///v1",
        "http://[::1/v1",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:0/v1",
        "http://127.0.0.1/v 1",
        "http://127.0.0.1/v1\r\nX: y",
        "http://exämple/v1",
        "http://user:sk-secret@127.0.0.1/v1",
    ],
)
def test_addresses_that_cannot_be(url):
    with pytest.raises(UsageError) as refused:
        EndpointCaptioner(url, "m", 9)
    assert "sk-secret" not in str(refused.value) and str(refused.value).isprintable()


def test_addresses():
    assert endpoint("http://127.0.0.1:8000/v1/") == "http://127.0.0.1:8000/v1/chat/completions"
    assert (
        endpoint("https://a.example/v1/chat/completions?v=2#x") == "https://a.example/v1/chat/completions?v=2"
    )


@pytest.mark.parametrize("key", ["sk secret", "sk-secret\n", "sk-sécret"])
def test_keys_that_no_header_can_hold(key):
    with pytest.raises(UsageError, match=KEY_VARIABLE) as refused:
        EndpointCaptioner("http://127.0.0.1/v1", "m", 9, api_key=key)
    assert key not in str(refused.value)
