"""The live page in headless Chromium, against a small server that follows the protocol."""

import base64
import io
import shutil
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from fakelive import FakeServer
from fakepictures import SIZE, drawn, landscape
from fakesession import CAPTION, SECOND, Session
from PIL import Image
from ports import free_port

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

WAIT_MS = 8000
# Functions, not expressions: the page's policy lets nothing be evaluated from a string.
SHOWN = """() => document.querySelector('#facts').textContent !== ''
  && !document.querySelector('#compare').matches('.nothing-received, .nothing-sent')"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def shared_server():
    server = FakeServer(free_port())
    server.start()
    yield server
    server.close()


@pytest.fixture
def server(shared_server):
    shared_server.play(Session())
    return shared_server


class Opened:
    """Opens pages; at the end none may have asked another host for anything, nor have said an error."""

    def __init__(self, browser, server):
        self.browser, self.server = browser, server
        self.contexts, self.errors, self.hosts = [], [], set()

    def __call__(self, *, token="steer", width=1280, scheme="light", wait=True):
        context = self.browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(WAIT_MS)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.goto(f"{self.server.url}?token={token}")
        if wait:
            page.wait_for_function(SHOWN)
        return page


@pytest.fixture
def opened(browser, server):
    pages = Opened(browser, server)
    yield pages
    for context in pages.contexts:
        context.close()
    assert pages.errors == []
    assert pages.hosts <= {f"127.0.0.1:{server.port}"}


def until(said, seconds=5.0):
    """Wait until *said()* is true and return it."""
    end = time.monotonic() + seconds
    while not (found := said()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found


def still(server, **how):
    """Show a session that is paused, so that its picture stays."""
    session = Session(**how)
    server.play(session)
    session.paused = True
    return session


def pixels(page):
    data = page.evaluate("document.querySelector('#picture').toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))


def shown_frame(page):
    return int(page.text_content("#facts").split("·")[0].split()[1])


def expect_text(page, selector, text):
    page.wait_for_function(
        "([at, text]) => document.querySelector(at).textContent.includes(text)", arg=[selector, text]
    )


def control(page, path):
    return page.locator(f'[data-path="{path}"]')


def show_control(page, stated):
    if stated["hop"] is not None:
        page.locator(f'.picker input[value="{stated["hop"]}"]').check(force=True)


def test_first_picture_comes_within_three_seconds(opened):
    page = opened()
    page.wait_for_function(SHOWN)
    assert page.evaluate("performance.now()") < 3000
    assert page.text_content("#title") == "Mars rover"
    assert page.text_content("#caption") == f"“{CAPTION}”"
    assert page.text_content("#near-name") == "Rover now" and page.text_content("#far-name") == "Earth sees"
    assert opened.hosts == {f"127.0.0.1:{opened.server.port}"}


def test_left_of_the_slider_is_what_was_sent_and_right_of_it_what_came(opened, server):
    still(server)
    page = opened()
    frame = until(lambda: shown_frame(page))
    sent = np.asarray(landscape(frame))
    received = np.asarray(drawn(frame))
    assert not (sent == received).all()
    box = page.locator("#compare").bounding_box()

    def drag(share):
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 80)
        page.mouse.down()
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 90, steps=3)
        page.mouse.up()

    def press(key):
        page.focus("#split")
        page.keyboard.press(key)

    for act in (
        lambda: drag(0.25),
        lambda: drag(0.8),
        lambda: press("ArrowLeft"),
        lambda: press("Home"),
        lambda: press("End"),
    ):
        act()
        share = page.evaluate("document.querySelector('#split').value / 1000")
        cut = round(share * SIZE[0])
        whole = np.concatenate([sent[:, :cut], received[:, cut:]], axis=1)
        until(lambda whole=whole: (pixels(page) == whole).all())
    drag(0.25)
    assert abs(page.evaluate("document.querySelector('#split').value / 1000") - 0.25) < 0.02


def test_late_viewer_is_shown_what_a_picture_was_made_of(opened, server):
    page = opened()
    at = max(server.session.frames)  # of what was sent before, a late viewer was given but one picture
    until(lambda: shown_frame(page) < at and "sent-" in str(server.commands), 8)
    page.wait_for_function(SHOWN)


def test_exact_pixels_can_be_fetched(opened, server):
    still(server, lossy=True)
    page = opened()
    frame = shown_frame(page)
    page.locator("#split").press("End")
    sent = np.asarray(landscape(frame))
    until(lambda: np.abs(pixels(page).astype(int) - sent).mean() < 5)
    assert (pixels(page) != sent).any()  # compressed for the way to the page
    page.click("#exact")
    until(lambda: (pixels(page) == sent).all())
    assert page.locator("#exact").is_hidden()


def test_each_control_by_mouse_and_by_key_is_followed_by_all_viewers(opened, server):
    still(server)
    page, other = opened(), opened(token="watch")

    def follows(stated, act):
        before = len(server.commands)
        act()
        command = until(lambda: [one for one in server.commands[before:] if one["do"] == "change"])[-1]
        value = server.session.values[stated["path"]]
        assert command["paths"] == {stated["path"]: value}
        shown = "one => [one.querySelector('input, select').checked, one.querySelector('input, select').value, one.querySelector('output').textContent]"
        until(
            lambda: (
                control(page, stated["path"]).evaluate(shown)
                == control(other, stated["path"]).evaluate(shown)
            ),
            2,
        )
        return value

    for stated in server.session.stated:
        show_control(page, stated)
        root = control(page, stated["path"])
        field = root.locator("input, select")
        before = stated["value"]
        field.focus()
        if stated["kind"] == "range":
            key = follows(stated, lambda: page.keyboard.press("ArrowRight"))
            assert before < key <= stated["max"]
            box = field.bounding_box()
            at = 0.25 if field.evaluate("one => one.value / one.max") > 0.5 else 0.75  # not on the thumb
            place = box["x"] + at * box["width"], box["y"] + box["height"] / 2
            mouse = follows(stated, lambda place=place: page.mouse.click(*place))
            assert (mouse > key) is (at > 0.5)
            if stated["scale"] == "linear":
                span = stated["max"] - stated["min"]
                assert mouse == pytest.approx(stated["min"] + at * span, abs=max(0.06 * span, stated["step"]))
        elif stated["kind"] == "switch":
            assert follows(stated, lambda: page.keyboard.press("Space")) is not before
            assert follows(stated, field.click) is before
        else:
            assert follows(stated, lambda: page.keyboard.press("ArrowDown")) == 16
            assert follows(stated, lambda field=field: field.select_option(label="2")) == 2
        assert root.locator(".hint").text_content().startswith("Refused") is False


def test_control_tells_when_the_far_end_sees_it(opened, server):
    still(server)
    page = opened()
    show_control(page, {"hop": 1})
    field = control(page, "link.hops.1.rate_bps").locator("input")
    assert field.get_attribute("aria-valuetext") == "500 bit/s"
    field.press("ArrowRight")
    expect_text(page, '[data-path="link.hops.1.rate_bps"] .hint', "Earth sees it in 10 s")
    show_control(page, {"hop": -1})
    control(page, "link.return.rate_bps").locator("input").press("ArrowRight")
    expect_text(page, '[data-path="link.return.rate_bps"] .hint', "Rover sees it in 10 s")


def test_refused_change_says_why_and_jumps_back(opened, server):
    page = opened()
    root = control(page, "link.hops.0.loss.loss")
    root.locator("input").press("End")
    expect_text(
        page, '[data-path="link.hops.0.loss.loss"] .hint', "Refused: link.hops.0.loss.loss: 1 is over 0.9"
    )
    assert root.locator("output").text_content() == "5 %"
    assert root.locator("input").get_attribute("aria-valuetext") == "5 %"
    assert server.session.values["link.hops.0.loss.loss"] == 0.05


def test_says_that_the_server_is_gone_and_comes_back_with_nothing_doubled(opened, server):
    session = still(server)
    session.change({"codec.channels": 4}, "viewer 2")
    page = opened()
    expect_text(page, "#marks", "channels 8 → 4")
    counted = "['#marks li', '#log li', '#tiles li', '#charts figure', '.control'].map((at) => document.querySelectorAll(at).length)"
    facts = "['#strip-fact', '#ring-fact', '#facts', '#waterfall'].map((at) => document.querySelector(at).getAttribute('aria-label') ?? document.querySelector(at).textContent)"
    page.wait_for_timeout(400)
    before = page.evaluate(counted), page.evaluate(facts)
    server.kill()
    began = time.monotonic()
    expect_text(page, "#standing-word", "no connection")
    assert time.monotonic() - began < 3
    expect_text(page, "#badge", "old")
    assert page.locator("#veil").is_visible()
    assert page.locator('[data-path="codec.channels"] input').is_disabled()
    expect_text(page, "#veil", "open the link that it printed")  # a new server has a new one
    server.start()
    began = time.monotonic()
    expect_text(page, "#standing-word", "paused")
    assert time.monotonic() - began < 3
    page.wait_for_timeout(400)
    assert (page.evaluate(counted), page.evaluate(facts)) == before
    assert page.locator("#veil").is_hidden()
    assert all("WebSocket" in error for error in opened.errors)
    opened.errors.clear()


def test_who_watches_cannot_change_anything(opened, server):
    page = opened(token="watch")
    assert "You are watching" in page.locator("#watching").inner_text()
    assert page.locator(".control input:not(:disabled), .control select:not(:disabled)").count() == 0
    for name in ("pause", "step", "next", "factor", "open"):
        assert page.locator(f"#{name}").is_disabled()
    assert page.locator("#mark-form").is_hidden()
    page.locator("#split").press("ArrowLeft")  # what is the viewer's own still works
    assert page.locator("#split").is_enabled() and page.locator("#ring").is_enabled()


def test_new_state_replaces_all(opened, server):
    page = opened()
    server.push({"marks": [{"t_s": 40, "text": "of the old session", "by": "x"}], "log": ["an old line"]})
    expect_text(page, "#marks", "of the old session")
    expect_text(page, "#log", "an old line")
    new = Session(caption="another plain")
    new.values["codec.channels"] = 3
    server.play(new, before_s=6)
    expect_text(page, "#caption", "another plain")
    until(lambda: page.locator("#marks li").count() == 0 and "old line" not in page.text_content("#log"))
    assert control(page, "codec.channels").locator("output").text_content() == "3"
    assert int(page.get_attribute("#ring", "max")) < 12
    blank = "!document.querySelector('#earth-picture').getContext('2d').getImageData(0, 0, 256, 192).data.some((one) => one)"
    assert not page.evaluate(blank)
    server.play(Session(), before_s=0.2)  # of this one nothing has come
    expect_text(page, "#earth-fact", "nothing yet")
    until(lambda: page.evaluate(blank))
    expect_text(page, "#far-clock", "nothing yet")


def test_hostile_text_is_shown_as_text(opened, server):
    hostile = "<img src=x onerror=document.title='owned'><script>x</script>\u202egnp.exe\u001b[31mred\u0007"
    server.play(Session(caption=hostile))
    page = opened()
    assert (
        page.text_content("#caption")
        == "“<img src=x onerror=document.title='owned'><script>x</script> gnp.exered”"
    )
    server.push(
        {
            "marks": [{"t_s": 50, "text": hostile, "by": hostile}],
            "log": [hostile],
            "rival": {"codec": hostile, "bytes": 1, "frame": 1, "words": hostile},
            "story": {"card": {"title": hostile, "text": hostile}, "at_s": 1, "ends_s": 2},
        }
    )
    expect_text(page, "#log", "<script>")
    assert page.locator("main img, .notices img, main script").count() == 0
    assert "\u202e" not in page.inner_text("body") and "\u001b" not in page.inner_text("body")
    assert page.title() == "Mars rover – farlink"


NAMES = """() => [...document.querySelectorAll('input, select, button, meter, progress, canvas[role=img], dialog')].filter((one) => {
  const by = (one.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join('');
  const label = [...(one.labels ?? [])].map((each) => each.textContent).join('');
  return !(one.getAttribute('aria-label') || by || label || (one.matches('button') && one.textContent.trim()));
}).map((one) => one.outerHTML)"""

CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((one, at) => one * a + under[at] * (1 - a));
  const light = (colour) => colour.map((one) => one / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    const colour = element ? numbers(getComputedStyle(element).backgroundColor) : [255, 255, 255];
    return colour.length < 4 || colour[3] === 1 ? colour.slice(0, 3) : over(colour, ground(element.parentElement));
  };
  const poor = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest('.hide, .skip')) continue;
    seen += 1;
    const under = ground(element);
    const [a, b] = [light(over(numbers(getComputedStyle(element).color), under)), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push([element.tagName, element.id, element.className, element.textContent.slice(0, 30), ratio]);
  }
  return [seen, poor];
}"""

CANVAS_TEXT = """() => import('/static/canvas.js').then(({ palette }) => {
  const probe = document.createElement('i');
  document.body.append(probe);
  const light = (name) => {
    probe.style.color = palette()[name];
    return getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  };
  const ratio = (name) => { const [a, b] = [light(name), light('panel')].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
  const found = ['ink', 'soft', 'red'].map(ratio);
  probe.remove();
  return found;
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_fits_is_named_and_can_be_read(opened, server, width, scheme):
    server.session.story = {"card": {"title": "A card", "text": "of a story"}, "at_s": 1, "ends_s": 60}
    page = opened(width=width, scheme=scheme)
    expect_text(page, "#story-title", "A card")
    for state in ("closed", "help", "open"):
        if state != "closed":
            page.click(f"#{state}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        seen, poor = page.evaluate(CONTRAST)
        assert seen > 100 and poor == []
        if state != "closed":
            page.keyboard.press("Escape")
    assert page.evaluate(NAMES) == []
    assert min(page.evaluate(CANVAS_TEXT)) >= 4.5
    wide = page.evaluate(
        "[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert wide == 0


def test_theme_switch_overrules_the_system_and_is_kept(opened):
    page = opened()
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.click("#theme")
    assert page.evaluate(colour) == light
    page.click("#theme")
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    page.wait_for_function(SHOWN)
    assert page.evaluate(colour) == dark


def test_old_picture_never_looks_fresh(opened, server):
    server.play(Session(lose_after=3), before_s=12)
    page = opened()
    expect_text(page, "#badge", "old")
    assert shown_frame(page) == 3
    assert "lost since" in page.text_content("#since")
    cut = SIZE[0] // 2
    until(lambda: (pixels(page)[:, cut:] == np.asarray(drawn(3))[:, cut:]).all())

    def age():
        said = page.text_content("#facts").split("·")[2].strip()
        words = said.removesuffix(" old").split()
        return sum(float(n) * {"s": 1, "min": 60}[unit] for n, unit in zip(words[::2], words[1::2]))

    first, run = age(), server.session.now
    page.wait_for_timeout(1000)
    passed = (server.session.now - run) / 1e9
    assert age() - first == pytest.approx(passed, abs=2.0) and passed > 2
    assert shown_frame(page) == 3


def test_keys_and_buttons_set_the_pace(opened, server):
    page = opened()

    def sent(act):
        before = len(server.commands)
        act()
        return until(lambda: [one for one in server.commands[before:] if one["do"] == "pace"])[-1]

    assert sent(lambda: page.keyboard.press("Space"))["turn"] == "pause"
    expect_text(page, "#pause", "Resume")
    expect_text(page, "#standing-word", "paused")
    clock = page.text_content("#near-clock")
    page.wait_for_timeout(400)
    assert page.text_content("#near-clock") == clock
    assert sent(lambda: page.keyboard.press("."))["turn"] == "event"
    shown = shown_frame(page)
    assert sent(lambda: page.keyboard.press("n"))["turn"] == "picture"
    until(lambda: shown_frame(page) == shown + 1)
    assert sent(lambda: page.click("#step"))["turn"] == "event"
    assert sent(lambda: page.click("#next"))["turn"] == "picture"
    until(lambda: shown_frame(page) == shown + 2)
    expect_text(page, "#pause", "Resume")  # the picture is there, and time stands still again
    assert sent(lambda: page.click("#pause"))["turn"] == "resume"
    expect_text(page, "#pause", "Pause")
    assert sent(lambda: page.select_option("#factor", "60"))["factor"] == 60
    until(lambda: page.input_value("#factor") == "60")
    page.keyboard.press("?")
    assert page.locator("#help-dialog").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    page.keyboard.type("look here. n")  # keys of the page are letters here
    page.keyboard.press("Enter")
    expect_text(page, "#marks", "look here. n")
    assert server.commands[-1]["do"] == "mark"


def test_overlays_by_key_lie_over_the_received_picture(opened, server):
    still(server)
    page = opened()
    drawn_on = """() => { const one = document.querySelector('#overlay'); const data = one.getContext('2d').getImageData(0, 0, one.width, one.height).data;
      let [left, right] = [0, 0]; for (let at = 3; at < data.length; at += 4) if (data[at]) ((at >> 2) % one.width < one.width / 2 - 2 ? left++ : (at >> 2) % one.width > one.width / 2 + 2 ? right++ : 0); return [left, right]; }"""
    assert page.evaluate(drawn_on) == [0, 0]
    for key, name, sides in (
        ("1", "boxes", (False, True)),
        ("2", "masks", (False, True)),
        ("3", "depth", (False, True)),
        ("4", "truth", (True, False)),
    ):
        page.keyboard.press(key)
        assert page.get_attribute(f"[data-overlay={name}]", "aria-pressed") == "true"
        until(lambda sides=sides: tuple(count > 0 for count in page.evaluate(drawn_on)) == sides)
        page.click(f"[data-overlay={name}]")
        until(lambda: page.evaluate(drawn_on) == [0, 0])


def test_the_page_says_how_many_boxes_are_not_drawn(opened, server):
    page = opened()
    expect_text(page, "#found", "2 drawn, 9 less sure or on the same thing left out")


def test_the_truth_lies_over_what_was_sent_with_the_overlays_that_are_on(opened, server):
    still(server)
    page = opened()
    left = """() => { const one = document.querySelector('#overlay'); const data = one.getContext('2d').getImageData(0, 0, one.width / 2 - 2, one.height).data;
      let drawn = 0; for (let at = 3; at < data.length; at += 4) drawn += data[at] > 0; return drawn / (data.length / 4); }"""
    page.keyboard.press("4")
    until(lambda: page.evaluate(left) > 0.99)  # alone: its segmentation
    page.keyboard.press("1")
    until(lambda: 0.0 < page.evaluate(left) < 0.2)  # with boxes: its boxes
    page.keyboard.press("2")
    until(lambda: page.evaluate(left) > 0.99)
    expect_text(page, "#scores", "mIoU")


def test_before_a_run_begins_the_page_says_who_is_waited_for(opened, server):
    page = opened()
    for ends, words in (
        ({"sender": "ready", "receiver": "loading"}, "receiver loads"),
        ({"sender": "absent", "receiver": "loading"}, "waiting for the sender"),
        ({"sender": "ready", "receiver": "ready"}, "live"),
    ):
        server.push({"ends": ends})
        expect_text(page, "#standing-word", words)


def test_where_no_codec_fits_no_name_is_given(opened, server):
    words = "WebP cannot go under 266 bytes, AVIF cannot go under 310 bytes"
    still(server).rival = {"codec": "", "bytes": 0, "frame": 1, "words": words}
    page = opened()
    expect_text(page, "#rival-name", "No other codec fits")
    expect_text(page, "#rival-fact", words)


def test_scrubs_back_while_live_goes_on(opened, server):
    session = still(server)
    page = opened()
    live = shown_frame(page)
    for _ in range(3):
        page.locator("#ring").press("ArrowLeft")
    past = live - 3
    until(lambda: shown_frame(page) == past)
    session.paused = False
    expect_text(page, "#badge", "past")
    until(lambda: (pixels(page)[:, :128] == np.asarray(landscape(past))[:, :128]).all())
    fact = page.text_content("#earth-fact")
    until(lambda: page.text_content("#earth-fact").split(",")[0] != fact.split(",")[0])
    assert shown_frame(page) == past
    page.keyboard.press("l")
    until(lambda: shown_frame(page) > live)
    assert "past" not in page.text_content("#badge")


def test_reduced_motion_stops_the_dots(opened, server):
    page = opened()
    server.session.factor = 0.125

    def moves():
        strip = "document.querySelector('#strip').toDataURL()"
        before = page.evaluate(strip)
        page.wait_for_timeout(300)
        return page.evaluate(strip) != before

    page.locator("#strip").scroll_into_view_if_needed()
    until(moves)
    page.emulate_media(reduced_motion="reduce")
    until(lambda: not moves())


def test_replay_seeks_both_ways_and_steers_nothing(opened, server):
    server.play(Session(mode="replay"), before_s=12)
    page = opened()
    assert page.locator("#replaying").is_visible()
    assert page.locator(".control input:not(:disabled)").count() == 0
    for key, share in (("End", 1.0), ("Home", 0.0)):
        page.locator("#seek").press(key)
        command = until(lambda: [one for one in server.commands if one["do"] == "seek"])[-1]
        assert command["ns"] == int(share * 100e9)
        server.commands.clear()
        expect_text(page, "#seek-fact", "of 00:01:40")
    until(lambda: page.text_content("#near-clock") < "00:00:20")


def test_after_a_lost_connection_a_replay_goes_on_where_its_viewer_was(opened, server):
    """Who looks on by the watching link winds it too; who has wound nothing asks for nothing."""
    still(server, mode="replay")
    page, other = opened(token="watch"), opened()
    for name in ("pause", "step", "next", "factor"):
        assert page.locator(f"#{name}").is_enabled()
    page.locator("#seek").press("End")
    until(lambda: [one for one in server.commands if one["do"] == "seek"])
    until(lambda: page.text_content("#near-clock").endswith("00:01:40"))
    server.kill()
    for one in (page, other):
        expect_text(one, "#standing-word", "no connection")
    server.commands.clear()
    server.session.now = 12 * SECOND  # as a new viewer would find it
    server.start()
    until(lambda: "pace" in [one["do"] for one in server.commands], seconds=8)
    asked = [one for one in server.commands if one["do"] in ("seek", "pace")]
    assert [(one["do"], one.get("ns")) for one in asked] == [("seek", 100 * SECOND), ("pace", None)]
    assert (asked[1]["turn"], asked[1]["factor"]) == ("pause", server.session.factor)
    assert all("WebSocket" in error for error in opened.errors)
    opened.errors.clear()


def test_opens_another_session_by_its_name(opened, server):
    page = opened()
    page.click("#open")
    page.get_by_role("button", name="ROV under water").click()
    assert (
        until(lambda: [one for one in server.commands if one["do"] == "open"])[0].items()
        >= {"what": "story", "name": "rov"}.items()
    )
    page.wait_for_function("() => !document.querySelector('#open-dialog').open")


def test_pure_modules_reckon_right(opened):
    page = opened(wait=False)
    found = page.evaluate("""async () => {
      const format = await import('/static/format.js');
      const { Scale } = await import('/static/controls.js');
      const { begin } = await import('/static/state.js');
      const { underWay } = await import('/static/packets.js');
      const { decode } = await import('/static/wire.js');
      const wrong = [];
      for (const one of [{ min: 10, max: 1e8, scale: 'log' }, { min: 0, max: 0.01, scale: 'log' }, { min: 0, max: 0.95, scale: 'linear', step: 0.005 }, { min: 1, max: 64, scale: 'log', step: 1 }, { min: 0, max: 2000, scale: 'linear' }]) {
        const scale = new Scale(one);
        for (let at = 0, last = -1; at <= scale.count; at++) {
          const value = scale.value(at);
          if (value < one.min || value > one.max || value < last) wrong.push([one, at, value]);
          last = value;
        }
        if (scale.value(0) !== one.min || scale.value(scale.count) !== one.max || scale.position(one.min) !== 0 || scale.position(one.max) !== scale.count) wrong.push(one);
      }
      const hops = [{ name: 'a-b', rate_bps: 800, delay_s: 10 }];
      const model = begin({ hops, clock: { run_ns: 0, factor: 1 }, packets: [[0, 0, 'data', '', 100, 0, 0], [1, 0, 'data', '', 100, 0, 0]], rows: [] }, [], 0);
      const legs = underWay(model, 5e9).map(({ leg }) => [leg.air, leg.fly, leg.leave].map((ns) => ns / 1e9));
      const { busy } = await import('/static/waterfall.js');
      const packet = (frame, sent, end) => ({ frame, sent, end, legs: [] });
      const flying = busy([packet(0, 0, null), packet(1, 60, null), packet(null, 99, null)], 100).length;
      const lossy = busy([packet(0, 0, null), packet(1, 60, 62), packet(2, 120, 121)], 121).length;
      const burst = busy([packet(0, 0, 1), packet(1, 100, 102), packet(1, 101, 103)], 150).map((one) => one.frame);
      const { add, noticedAfter, ofHop } = await import('/static/state.js');
      // A figure that changes by itself comes as a value, with a control or without.
      const moving = begin({ hops: [...hops, { name: 'b-c', rate_bps: 9, delay_s: 99 }], values: { 'link.hops.1.delay_s': 3, 'link.hops.1.rate_bps': 70 } }, [], 0);
      const now = [ofHop(moving, 1, 'delay_s'), ofHop(moving, 1, 'rate_bps'), ofHop(moving, 0, 'delay_s'), noticedAfter(moving, { hop: 0 })];
      for (let frame = 0; frame < 400; frame++) {
        const blob = new Uint8Array(100000);
        add(model, { frames: [{ frame, status: 'sent' }], pictures: ['sent', 'received'].map((kind) => ({ id: `${kind}-${frame}`, frame, kind, blob: 0 })) }, [blob], 0);
      }
      const kept = [model.frames.size, model.pictures.size, Math.min(...model.pictures.keys()), model.pictureBytes];
      let cut = '';
      try { decode(new Uint8Array([9, 0, 0, 0, 123]).buffer); } catch (error) { cut = error.name; }
      return [[0, 0.0004, 0.36, 5, 59.6, 664, 7380, 200000, Infinity].map(format.lasting), [266, 12345, 3e6].map(format.bytes), [500, 18000, 2.5e6, null].map(format.rate), format.clock(90061e9), wrong, legs, cut, flying, lossy, burst, kept, now];
    }""")
    assert found[0] == [
        "0 s",
        "0.4 ms",
        "0.4 s",
        "5.0 s",
        "1 min",
        "11 min 4 s",
        "2 h 3 min",
        "2 d 7 h",
        "for ever",
    ]
    assert found[1:4] == [
        ["266 bytes", "12.3 kB", "3 MB"],
        ["500 bit/s", "18 kbit/s", "2.5 Mbit/s", "no limit"],
        "1 d 01:01:01",
    ]
    assert found[4] == []
    assert found[5] == [[0, 1, 11], [1, 2, 12]]  # one waits for the other; then each flies ten seconds
    assert found[6:] == ["RangeError", 3, 3, [1, 1], [300, 120, 280, 24_000_000], [3, 70, 10, 13]]
