"""The live page in headless Chromium against the real thing: three processes, the page's server, a hand on its controls."""

import signal
import subprocess
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest

from link import journal, png

playwright = pytest.importorskip("playwright.sync_api")
from launched import COMMAND, read_links  # noqa: E402
from test_live_page import CHROMIUM, SHOWN, browser, control, expect_text, pixels, shown_frame  # noqa: E402, F401

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
PLAIN = (
    "--codec", "webp", "--source", "testcard", "--set", "analysis=[]", "--set", "camera.width=128",
    "--set", "camera.height=96", "--set", "camera.period_s=0.7", "--set", "codec.frame_bytes=900",
    "--set", "link.hops.1.delay_s=0.2", "--set", "link.hops.1.rate_bps=20000", "--factor", "1",
)  # fmt: skip
BUSY = (
    "--codec", "gsc", "--source", "testcard", "--set", "analysis=[]", "--set", "camera.period_s=0.2",
    "--set", "link.hops.0.rate_bps=200000", "--set", "link.hops.1.delay_s=0.2", "--set", "link.hops.1.rate_bps=200000",
    "--set", "codec.steps=16", "--factor", "1",
)  # fmt: skip


@contextmanager
def session(out, settings):
    """Run `farlink live` into *out* and give its links; it ends with the block, as by Ctrl-C."""
    child = subprocess.Popen(
        [*COMMAND, "live", "mars-relay", *settings, "--no-open", "--json", "--bind", "127.0.0.1:0", "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield read_links(child)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
        assert child.returncode == 0, said
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate(timeout=10)


@contextmanager
def seen(browser, link):  # noqa: F811
    """Open *link*; no other host is asked for anything, and no error is said."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)  # models load, on a machine that may be busy
    page = context.new_page()
    errors, hosts = [], set()
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(link)
    yield page
    context.close()
    assert errors == [] and hosts == {urlsplit(link).netloc}


def again(out, folder):
    """Run the session in *out* again; return its journal, to which the second is equal byte for byte."""
    done = subprocess.run(
        [*COMMAND, "run", "--again", str(out), "--out", str(folder)], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "run.mcap").read_bytes() == (out / "run.mcap").read_bytes()
    return journal.read(out / "run.mcap")


def test_a_session_is_seen_steered_marked_and_had_again(browser, tmp_path):  # noqa: F811
    out = tmp_path / "run"
    with session(out, PLAIN) as links, seen(browser, links["steer"]) as page:
        page.wait_for_function(SHOWN)
        with seen(browser, links["watch"]) as other:  # the session has begun: its first picture is at hand
            other.wait_for_function(SHOWN)
            assert other.evaluate("performance.now()") < 3000
            rate = control(page, "link.hops.0.rate_bps").locator("input")
            before = control(other, "link.hops.0.rate_bps").locator("output").text_content()
            rate.focus()
            rate.press("ArrowLeft")
            other.wait_for_function(
                '([at, was]) => document.querySelector(`[data-path="${at}"] output`).textContent !== was',
                arg=["link.hops.0.rate_bps", before],
            )
            shown = [
                control(one, "link.hops.0.rate_bps").locator("output").text_content() for one in (page, other)
            ]
            assert shown[0] == shown[1]
            assert control(other, "link.hops.0.rate_bps").locator("input").is_disabled()
        assert page.locator("#tiles").is_hidden()  # no codec in channels
        loss = control(page, "link.hops.0.loss.loss").locator("input")
        loss.focus()
        loss.press("End")
        expect_text(page, '[data-path="link.hops.0.loss.loss"] .hint', "Refused")
        page.fill("#mark-text", "look here")
        page.press("#mark-text", "Enter")
        expect_text(page, "#marks", "look here")
        expect_text(page, "#badge", "complete")  # a picture was received, not only sent
        page.click("#pause")
        expect_text(page, "#standing-word", "paused")
        page.wait_for_timeout(500)
        frame, canvas = shown_frame(page), pixels(page)
        assert page.locator("#exact").is_hidden()
    run = again(out, tmp_path / "again")
    changed = [event for event in run.events if event["kind"] == "changed"]
    assert [list(event["paths"]) for event in changed] == [["link.hops.0.rate_bps"]]
    marked = [event for event in run.events if event["kind"] == "marked"]
    assert [event["text"] for event in marked] == ["look here"] and "viewer" in marked[0]["by"]
    for kind, part in (("sent", np.s_[:, :64]), ("received", np.s_[:, 64:])):
        assert (canvas[part] == png.decode(run.pictures[kind][frame])[part]).all()


def test_a_receiver_that_is_too_slow_is_kept_up_with(browser, tmp_path):  # noqa: F811
    out = tmp_path / "run"
    with session(out, BUSY) as links, seen(browser, links["steer"]) as page:
        page.wait_for_function(SHOWN)
        assert control(page, "keep_up").locator("input").is_checked()
        expect_text(page, "#marks", "keep up")
        page.wait_for_function(
            "() => document.querySelector('[data-path=\"codec.steps\"] output').textContent !== '16'"
        )
        control(page, "keep_up").locator("input").click()
        page.wait_for_function("() => !document.querySelector('[data-path=\"keep_up\"] input').checked")
    run = again(out, tmp_path / "again")
    changed = [event for event in run.events if event["kind"] == "changed"]
    course = [event["paths"]["codec.steps"] for event in changed]
    assert course and course == [[16, 8], [8, 4], [4, 2], [2, 1]][: len(course)]
    assert {event["by"] for event in changed} == {"keep up"}
