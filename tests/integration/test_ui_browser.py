"""The page of `minidock ui` in headless Chromium, by keyboard."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import minidock
from tests import net
from tests.browser import Browser, browser, program
from tests.conftest import Roots, roots_of_their_own, wait_for
from tests.rootfs import busybox_tar
from tests.ui import Ui, ui

pytestmark = pytest.mark.skipif(program() is None, reason="chromium is missing: just setup")

EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script><b>bold</b>&amp;\'\u202e'
TALK = 'i=0; while read line; do i=$((i+1)); echo "line $i: $line"; done'


class World:
    """A data root with containers, the page's server, and a browser that has opened its link."""

    def __init__(self, roots: Roots, engine: minidock.Engine, server: Ui, page: Browser) -> None:
        self.roots = roots
        self.engine = engine
        self.server = server
        self.page = page

    def open(self, place: str) -> None:
        """Go to a part of the page, and return when it is there instead of the one before."""
        self.page.run(
            f"""new Promise((done) => {{
                const before = location.hash
                location.hash = {json.dumps(place)}
                if (location.hash === before) done()
                else addEventListener('hashchange', () => done(), {{ once: true }})
            }})"""
        )

    def nothing_is_being_done(self) -> None:
        """What was asked for must have come back: until then keys and buttons do nothing."""
        self.page.wait("!document.querySelector('tbody button:disabled')")

    def status(self, name: str) -> str:
        """A container's state, as the engine has it."""
        return self.engine.containers.get(name).status

    def link(self, name: str) -> str:
        """The address of a container's page."""
        return f"#/containers/{self.engine.containers.get(name).id}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with roots_of_their_own({}) as roots:
        engine = minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config))
        with engine:
            try:
                with ui(roots) as server, browser() as page:
                    fill(engine)
                    page.go(server.link)
                    page.wait("document.querySelectorAll('tbody tr').length === 4")
                    yield World(roots, engine, server, page)
            finally:
                for container in engine.containers.list(all=True):
                    container.remove(force=True)
                bridges = net.remove_all(engine)
        wait_for(lambda: not net.leaks(roots, bridges), 5, "the end of the networks")


def fill(engine: minidock.Engine) -> None:
    """Make what is shown: two networks, a volume, four containers, one of them hostile wherever it can be."""
    engine.images.import_(str(busybox_tar()), repository="busybox", changes=['CMD ["sh"]'])
    engine.volumes.create("data", labels={"evil": EVIL})
    engine.networks.create("front")
    engine.networks.create("back", labels={"evil": EVIL})
    run = engine.containers.run
    run("busybox", ["sh", "-c", TALK], name="web", network="front", stdin_open=True, detach=True, stop_signal="KILL")
    engine.networks.get("back").connect("web")
    run(
        "busybox", ["sleep", "1000"], name="db", network="back", detach=True, stop_signal="KILL", volumes=["data:/data"]
    )
    evil = run("busybox", ["printf", "%s\\n", EVIL], name="evil", network="none", labels={EVIL: EVIL}, detach=True)
    evil.wait()
    engine.containers.create("busybox", ["true"], name="made", network="none")


@pytest.fixture(autouse=True)
def nothing_is_wrong(world: World) -> Iterator[None]:
    """The page writes nothing to the console, breaks no rule of its policy, and asks nobody else for anything."""
    yield
    world.page.run("1")
    complaints, world.page.complaints = world.page.complaints, []
    assert complaints == []
    assert [one for one in world.page.requested if not one.startswith(world.server.origin)] == []
    assert world.page.run("window.pwned === undefined && document.querySelectorAll('img, b, iframe').length === 0")


def test_link_leaves_no_token(world: World) -> None:
    page = world.page
    assert page.run("location.href") == f"{world.server.origin}{world.server.place}/"
    assert page.run("document.cookie") == ""
    assert world.server.token not in page.run("document.documentElement.outerHTML + document.referrer")
    history = page.call("Page.getNavigationHistory")["entries"]
    assert not [one for one in history if world.server.token in one["url"]]


def test_rows_say_what_there_is(world: World) -> None:
    world.open("#/containers")
    world.page.wait("document.querySelectorAll('tbody tr').length === 4")
    names = world.page.run("[...document.querySelectorAll('tbody a.name')].map(one => one.textContent)")
    assert names == ["db", "evil", "made", "web"]
    world.page.wait("document.querySelector('tbody tr .value').textContent.includes('%')")
    world.page.wait("document.querySelector('tbody tr .spark .line').getAttribute('d')")


def test_a_row_stays_the_same_element(world: World) -> None:
    """What changes elsewhere makes no row anew: the focus and the plots stay."""
    page = world.page
    world.open("#/containers")
    page.wait("document.querySelector('tbody tr')")
    page.run("[...document.querySelectorAll('tbody tr')].forEach(one => { one.mine = true }); null")
    container = world.engine.containers.create("busybox", ["true"], name="late", network="none")
    page.wait("document.querySelectorAll('tbody tr').length === 5")
    assert page.run("[...document.querySelectorAll('tbody tr')].filter(one => one.mine).length") == 4
    container.remove()
    page.wait("document.querySelectorAll('tbody tr').length === 4")
    assert page.run("[...document.querySelectorAll('tbody tr')].every(one => one.mine)")


def test_stop_and_start_by_keyboard(world: World) -> None:
    page = world.page
    world.open("#/images")
    page.press("g", "c")
    page.wait("document.querySelectorAll('tbody tr').length === 4")
    page.press("j")
    assert page.run("document.activeElement.textContent") == "db"
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("s")
    page.wait("document.activeElement.closest('tr').textContent.includes('exited')")
    assert world.status("db") == "exited"
    world.nothing_is_being_done()
    page.press("s")
    page.wait("document.activeElement.closest('tr').textContent.includes('running')")
    assert world.status("db") == "running"
    world.nothing_is_being_done()
    # The buttons, in the order of the focus.
    page.press("Tab")
    assert page.run("document.activeElement.ariaLabel") == "Stop db"
    page.press("Enter")
    page.wait("document.activeElement.closest('tr')?.textContent.includes('exited')")
    page.wait("document.querySelector('.notices').textContent.includes('db stopped')")
    world.nothing_is_being_done()
    page.run("document.querySelector('[aria-label=\"Start db\"]').focus()")
    page.press("Enter")
    wait_for(lambda: world.status("db") == "running")


def test_pause_and_go_on(world: World) -> None:
    page = world.page
    world.open(world.link("db"))
    page.wait("document.querySelector('h1').textContent === 'db'")
    # What was asked for before must have come back: until then keys do nothing.
    page.wait("document.querySelector('.tools .pause:enabled')")
    page.press("p")
    page.wait("document.querySelector('.title .badge').textContent === 'paused'")
    page.wait("document.querySelector('.tools .unpause:enabled')")
    page.press("p")
    page.wait("document.querySelector('.title .badge').textContent === 'running'")
    assert world.status("db") == "running"


def test_remove_asks_first(world: World) -> None:
    page = world.page
    world.engine.containers.create("busybox", ["true"], name="aaa", network="none")
    world.open("#/containers")
    page.wait("document.querySelector('tbody a.name')?.textContent === 'aaa'")
    page.press("k", "k", "j")
    page.run("document.querySelector('tbody a.name').focus()")
    page.press("x")
    page.wait("document.querySelector('dialog[open]')")
    page.press("Escape")
    page.wait("!document.querySelector('dialog')")
    assert world.status("aaa") == "created"
    assert page.run("document.activeElement.textContent") == "aaa"
    page.press("x")
    page.wait("document.querySelector('dialog[open]')")
    assert page.run("document.activeElement.textContent") == "Cancel"
    page.press("Tab", "Enter")
    page.wait("document.querySelectorAll('tbody tr').length === 4")


def test_refusal_is_told(world: World) -> None:
    """The engine's own words are shown when it does not do what was asked."""
    page = world.page
    broken = world.engine.containers.create("busybox", ["/no/such/program"], name="broken", network="none")
    world.open(world.link("broken"))
    page.wait("document.querySelector('h1').textContent === 'broken'")
    page.press("s")
    page.wait("document.querySelector('.notice.bad')?.textContent.includes('/no/such/program')")
    broken.remove()
    page.wait("document.querySelector('.title').textContent.includes('removed')")
    assert all("/start" in one for one in page.complaints)  # the browser's own line about what was refused
    page.complaints = []


def test_search(world: World) -> None:
    page = world.page
    world.open("#/containers")
    page.wait("document.querySelector('tbody tr')")
    page.press("/")
    page.type("we")
    page.wait("document.querySelectorAll('tbody tr').length === 1")
    page.press("x")
    page.wait("document.querySelector('.empty .title').textContent.includes('No container matches')")
    page.press("Escape")
    page.wait("document.querySelectorAll('tbody tr').length === 4")


def test_log_follows_and_is_searched(world: World) -> None:
    page = world.page
    world.open(world.link("web"))
    page.wait("document.querySelector('h1').textContent === 'web'")
    page.press("l")
    page.wait("document.querySelector('.bar [role=status]')?.textContent.includes('following')")
    talker = world.engine.containers.get("web").attach_streams(stdin=True)
    with talker:
        talker.write(b"first\n" + EVIL.encode() + b"\n\x1b[31mred\x1b[0m\n")
        page.wait("document.querySelectorAll('.said').length === 3")
        said = page.run("[...document.querySelectorAll('.said > span')].map(one => one.textContent)")
        assert said == ["line 1: first", f"line 2: {EVIL}", "line 3: red"]
        page.press("/")
        page.type("first")
        page.wait("[...document.querySelectorAll('.said')].filter(one => !one.hidden).length === 1")
        assert page.text(".log mark") == "first"
        talker.write(b"first again\nother\n")
        page.wait("[...document.querySelectorAll('.said')].filter(one => !one.hidden).length === 2")
        page.wait("document.querySelector('.bar [role=status]').textContent.startsWith('2 of 5 lines')")
        page.press("Escape")
        page.wait("[...document.querySelectorAll('.said')].every(one => !one.hidden)")
        talker.write(b"x" * 200 + b"\n" + b"many\n" * 400)
        page.wait("document.querySelectorAll('.said').length === 406")
        page.wait("(box => box.scrollHeight - box.scrollTop - box.clientHeight < 9)(document.querySelector('.log'))")
    container = world.engine.containers.get("web")
    container.stop()
    page.wait("document.querySelector('.bar [role=status]').textContent.includes('has ended')")
    container.start()
    page.wait("document.querySelector('.bar [role=status]').textContent.includes('following')")


def test_terminal(world: World) -> None:
    page = world.page
    world.open("#/containers")
    page.wait("document.querySelector('tbody tr')")
    page.press("j")
    page.press("t")
    shows = "document.querySelector('.xterm-rows')?.textContent.replaceAll('\\u00a0', ' ')"
    page.wait(f"{shows}.includes('# ')")
    page.type("echo answer-$((6*7)); printf '\\033[38;2;255;0;0mred\\033[0m\\n'; stty size\n")
    page.wait(f"{shows}.includes('answer-42')")
    page.wait("[...document.querySelectorAll('.xterm-rows span')].some(one => one.style.color === 'rgb(255, 0, 0)')")
    page.wait(f"{shows}.match(/[0-9]+ [0-9]+/)")
    before = page.run(f"{shows}.match(/([0-9]+ [0-9]+)/)[1]")
    page.size(900, 600)
    page.type("clear; stty size\n")
    page.wait(f"(found => found && found[1] !== '{before}')({shows}.match(/([0-9]+ [0-9]+)/))")
    page.size(1280, 800)
    # All keys are the terminal's, but one that leads out.
    page.press("Escape")
    assert page.run("location.hash.endsWith('/terminal')")
    page.press("Escape", shift=True, control=True)
    assert page.run("document.activeElement.ariaLabel") == "Command"
    container = world.engine.containers.get("db")
    assert len(container.top().processes) == 2
    world.open("#/containers")
    wait_for(lambda: len(container.top().processes) == 1, 10, "the end of the shell")


def test_networks_are_a_graph(world: World) -> None:
    page = world.page
    world.open("#/networks")
    page.wait("document.querySelectorAll('.graph .edge').length === 3")
    assert sorted(page.run("[...document.querySelectorAll('.graph .net .title')].map(one => one.textContent)")) == [
        "back",
        "front",
    ]
    assert sorted(page.run("[...document.querySelectorAll('.graph .box .title')].map(one => one.textContent)")) == [
        "db",
        "web",
    ]
    page.run("document.querySelector('.graph .box').focus()")
    assert page.run("document.querySelectorAll('.edge.faint').length") > 0
    world.engine.networks.get("back").disconnect("db")
    page.wait("document.querySelectorAll('.graph .edge').length === 2")
    world.engine.networks.get("back").connect("db")
    page.wait("document.querySelectorAll('.graph .edge').length === 3")


def test_hostile_words_are_words(world: World) -> None:
    """In every view; the fixture looks whether a script ran, or an element was made of them."""
    page = world.page
    image = world.engine.images.get("busybox").id
    world.engine.containers.get("evil").commit("evil", message=EVIL, author=EVIL)
    evil = world.link("evil")
    world.open(evil)
    page.wait(f"document.body.textContent.includes({json.dumps(EVIL)})")
    world.open(f"{evil}/logs")
    page.wait(f"document.querySelector('.log')?.textContent.includes({json.dumps(EVIL)})")
    for place in (
        "#/images",
        f"#/images/{image}",
        "#/volumes",
        "#/networks",
        "#/events",
        f"#/{EVIL}",
        f"#/containers/{EVIL}",
    ):
        world.open(place)
        page.wait("document.querySelector('h1')")
    world.open("#/events")
    page.wait(f"document.querySelector('tbody').textContent.includes({json.dumps(EVIL)})")


def test_doctor(world: World) -> None:
    world.page.press("g", "d")
    world.page.wait("document.querySelectorAll('.findings li').length > 20", 60)
    assert "failure" in world.page.text(".about[role=status]")


def test_light_and_dark(world: World) -> None:
    page = world.page
    colours = []
    for dark in (False, True):
        page.dark(dark)
        colours.append(
            page.run(
                "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
            )
        )
    page.dark(False)
    assert colours[0][0] != colours[1][0]
    assert colours[0][1] != colours[1][1]


def test_narrow_screens_show_all_that_can_be_done(world: World) -> None:
    page = world.page
    world.open("#/containers")
    for width in (1280, 1100, 920, 880, 360):
        page.size(width, 740)
        page.wait("document.querySelector('tbody .act')")
        assert page.run("document.querySelector('tbody tr').lastChild.getBoundingClientRect().right") <= width, width
        assert page.run("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.scroll'))"), width
    for place in (
        "#/containers",
        world.link("web"),
        f"{world.link('web')}/logs",
        "#/images",
        "#/volumes",
        "#/networks",
        "#/events",
    ):
        world.open(place)
        page.wait("document.querySelector('h1')")
        assert page.run("document.scrollingElement.scrollWidth") <= 360, place
    page.size(1280, 800)


HOSTILE_PAGE = """<!doctype html><title>evil</title><script>
window.found = (async () => {
  const base = %r
  const tried = (what) => what.then(() => 'got it', () => 'refused')
  const element = (tag, more) => new Promise((done, failed) => {
    const made = Object.assign(document.createElement(tag), more, { onload: done, onerror: failed })
    document.body.append(made)
  })
  const remove = base + 'containers/%s/remove?force=1'
  return {
    post: await tried(fetch(remove, { method: 'POST', mode: 'no-cors', credentials: 'include' })),
    read: await tried(fetch(base + 'about', { credentials: 'include' })),
    script: await tried(element('script', { src: base + 'assets/format.js', type: 'text/javascript' })),
    image: await tried(element('img', { src: base + 'assets/icon.svg' })),
    socket: await new Promise((done) => {
      const socket = new WebSocket(base.replace('http', 'ws') + 'live')
      socket.onopen = () => done('got it')
      socket.onerror = () => done('refused')
    }),
  }
})()
</script><body></body>"""


def test_page_of_another_port_gets_nothing(world: World) -> None:
    """Even one that knows where the page is: another port of the same address is the same site to the browser."""
    page, cookies = world.page, []
    target = world.engine.containers.get("db").id

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.append(self.headers.get("Cookie"))
            data = (HOSTILE_PAGE % (f"{world.server.origin}{world.server.place}/", target)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            page.go(f"http://127.0.0.1:{other.server_address[1]}/")
            page.wait("window.found")
            found = page.run("window.found")
        finally:
            other.shutdown()
            thread.join()
    assert found == dict.fromkeys(("post", "read", "script", "image", "socket"), "refused")
    assert world.status("db") == "running"
    assert set(cookies) == {None}
    leave_the_other_page(world)


def test_rebound_name_gets_nothing(world: World) -> None:
    page = world.page
    page.go(f"http://evil.example:{world.server.port}{world.server.place}/")
    page.wait("document.querySelector('h1')?.textContent.includes('its own address only')")
    leave_the_other_page(world)


def leave_the_other_page(world: World) -> None:
    """Back to ours, which is still let in."""
    world.page.go(f"{world.server.origin}{world.server.place}/")
    world.page.wait("document.querySelectorAll('tbody tr').length === 4")
    world.page.complaints = []
    world.page.requested = []


def test_end_of_the_server_is_told(world: World) -> None:
    """And that another one has another link."""
    page = world.page
    with ui(world.roots) as server:
        page.go(server.link)
        page.wait("document.querySelectorAll('tbody tr').length === 4")
    page.wait("document.querySelector('#link').textContent.includes('is lost')")
    with ui(world.roots, "--port", str(server.port)):
        page.wait("document.querySelector('#link').textContent.includes('session is over')")
    assert all("ERR_" in one or "404" in one or "WebSocket" in one for one in page.complaints)
    page.complaints = []
    page.requested = []
    page.go(f"{world.server.origin}{world.server.place}/")
    page.wait("document.querySelectorAll('tbody tr').length === 4")


def test_link_opens_once(world: World) -> None:
    page = world.page
    page.go(world.server.link)  # a bookmark, as long as the session lasts
    page.wait("document.querySelectorAll('tbody tr').length === 4")
    page.call("Network.clearBrowserCookies")
    page.go(world.server.link)
    page.wait("document.querySelector('h1')?.textContent.includes('has been used')")
    assert all("403" in one for one in page.complaints)
    page.complaints = []
