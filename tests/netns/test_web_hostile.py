"""Strangers at the door of the pages: the real process with its TLS, and raw bytes to it.

Nothing here needs root but to raise limits of this process; addresses are those of loopback, all of
which this host has, so that many come from different ones.
"""

from __future__ import annotations

import re
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle

import pytest

from carpool.web.door import HANDSHAKES_MAX
from carpool.web.headers import SECURITY
from carpool.web.throttle import FREE
from tests.netns.rawweb import HERE, PASSWORD, RECOVERY, Answer, Raw, RealWeb, real_web

OTHER = "127.0.0.2"
HELD = 400  # more than it has file descriptors
FORM = "Content-Type: application/x-www-form-urlencoded"
AGAIN = re.compile(r"try again in ([0-9]+) s")
FRESH = "another password that is long"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWeb]:
    with real_web(tmp_path_factory.mktemp("web")) as made:
        assert made.get("/login").status == 200
        yield made
        assert made.get("/login").status == 200
        assert "Traceback" not in made.log and "websockets" not in made.log
        assert len(made.log) < 10_000, "strangers fill no log"


# ------------------------------------------------------------------------------ paths, requests

OUTSIDE = (
    "/static/..%2f..%2fetc/passwd",
    "/static/%252e%252e%252fapp.py",
    "/static/%252e%252e/app.py",
    "/static/..%5capp.py",
    "/static/..\\app.py",
    "/static/%c0%ae%c0%ae/app.py",
    "/static/%c0%af..%c0%afapp.py",
    "/static/%00",
    "/static/carpool.css%00.png",
    "/static//etc/passwd",
    "/static/././../app.py",
    "/static/" + "%2e%2e%2f" * 60 + "etc/passwd",
    "/static/%ff%fe",
    "/static",
    "//etc/passwd",
    "//evil.example/..",
    "/%2e%2e/%2e%2e/etc/passwd",
    "https://evil.example/login",
    "http://fw1/static/../app.py",
    "*",
    "/login/",
    "//login/",
    "/login%00",
    "/login;x",
)


def test_no_path_leads_anywhere_but_to_our_pages(web: RealWeb) -> None:
    with web.raw() as raw:
        for target in OUTSIDE:
            answer = raw.get(target)
            assert answer.status == 404 and "there is no such page" in answer.body, target
            assert answer.headers["cache-control"] == "no-store", target
            assert SECURITY.keys() <= answer.headers.keys(), target
        for after in ("//evil.example", "%5c%5cevil.example", "/%09/evil.example"):
            page = raw.get(f"/login?next={after}").body
            assert 'value="//' not in page and "\\" not in page


GET, POST, HOST = "GET /login HTTP/1.1", "POST /login HTTP/1.1", "Host: fw1"
CHUNKED = "Transfer-Encoding: chunked"
SMUGGLED = "0\r\n\r\nGET /static/carpool.css HTTP/1.1\r\nHost: fw1\r\n\r\n"
NO_REQUESTS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((GET,), ""),
    ((GET, "Host: a", "Host: b"), ""),
    ((POST, HOST, "Content-Length: 3", "Content-Length: 4"), "a=bc"),
    ((POST, HOST, "Content-Length: +3"), "a=b"),
    ((POST, HOST, "Content-Length: -1"), "a=b"),
    ((POST, HOST, f"Content-Length: {'9' * 30}"), "a=b"),
    ((POST, HOST, "Content-Length: 3", CHUNKED), SMUGGLED),
    ((POST, HOST, "Content-Length: 3", "Transfer-Encoding:\tchunked"), SMUGGLED),
    ((POST, HOST, "Content-Length: 3", "Transfer-Encoding : chunked"), SMUGGLED),
    ((POST, HOST, "Transfer-Encoding: xchunked"), SMUGGLED),
    ((POST, HOST, "Transfer-Encoding: chunked, identity"), SMUGGLED),
    ((POST, HOST, CHUNKED, CHUNKED), SMUGGLED),
    ((POST, HOST, CHUNKED), "zz\r\n\r\n"),
    ((GET, HOST, "X: a\0b"), ""),
    ((GET, HOST, "X: a\rb"), ""),
    ((GET, HOST, "nonsense"), ""),
    ((GET, HOST, ": x"), ""),
    ((GET, HOST, *["a:b"] * 30_000), ""),
    ((GET, HOST, "Cookie: " + "; ".join(f"a{number}=1" for number in range(20_000))), ""),
    ((GET, HOST, f"X: {'x' * 200_000}"), ""),
    (("GET /login",), ""),
    (("GET /\x01 HTTP/1.1", HOST), ""),
    (("GET /\xe9 HTTP/1.1", HOST), ""),
)


def test_what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_read(web: RealWeb) -> None:
    for lines, body in NO_REQUESTS:
        with web.raw() as raw:
            answer = raw.says(*lines, body=body)
            assert answer.status == 400, (lines[:4], answer)
            assert answer.headers["connection"] == "close"
            assert SECURITY.keys() <= answer.headers.keys(), lines[:4]
            assert raw.hears().status == 0, lines[:4]


def test_what_is_wrong_after_an_answer_ends_the_connection(web: RealWeb) -> None:
    with web.raw() as raw:
        assert raw.says("POST /nothing HTTP/1.1", HOST, CHUNKED).status == 404
        raw.sends("zz\r\n\r\n")
        assert raw.hears().status == 0


def test_odd_hosts_cookies_and_credentials_make_no_fault(web: RealWeb) -> None:
    many = "; ".join(f"a{number}=1" for number in range(1500))
    with web.raw() as raw:
        for host in ("[", "a@evil", "\xff\xfe", "", "h/password?", "evil.example", '"><script>'):
            answer = raw.says("GET / HTTP/1.1", f"Host: {host}")
            assert (answer.status, answer.headers["location"]) == (303, "/login"), host
            answer = raw.says(GET, f"Host: {host}")
            assert answer.status == 200 and "<script>" not in answer.body, host
        for cookie in (many, "__Host-carpool=\xff\xfe", "=", '__Host-carpool="'):
            assert raw.get("/", f"Cookie: {cookie}").status == 303
        assert raw.get("/", *["Cookie: a=1"] * 800).status == 303
        for word in (f"Basic {'=' * 50}", "Basic /////w==", "Bearer \xff\xfe", "x" * 9000):
            assert raw.get("/metrics", f"Authorization: {word}").status in (401, 429)
        assert raw.get("/login", "Connection: upgrade", "Upgrade: websocket").status == 200
        assert raw.get("/login", "X-Forwarded-For: 192.0.2.1").status == 200
        assert raw.says("TRACE /login HTTP/1.1", HOST).status == 405


# ------------------------------------------------------------------------------ other sites


def test_a_form_is_taken_from_our_own_pages_alone(web: RealWeb) -> None:
    ann, bob = (web.log_in(name, PASSWORD).cookie for name in ("ann", "bob"))
    mine, theirs = web.token(ann), web.token(bob)
    change = {"old": PASSWORD, "fresh": FRESH, "again": FRESH}
    right = {**change, "token": mine}
    refused = (
        (change, ""),
        ({**change, "token": ""}, ""),
        ({**change, "token": theirs}, ""),
        ({**change, "token": mine[:-1]}, ""),
        (change, f"carpool-token: {theirs}"),
        (change, "Content-Type: text/plain"),
        (change, "Referer: https://evil.example/"),
        (right, "Origin: https://evil.example"),
        (right, "Origin: https://fw1.evil.example"),
        (right, "Origin: http://fw1"),
        (right, "Origin: null"),
        (right, "Sec-Fetch-Site: cross-site"),
        (right, "Sec-Fetch-Site: same-site"),
    )
    with web.raw() as raw:
        for form, header in refused:
            answer = raw.post("/password", form, ann, header or FORM)
            assert answer.status == 403, (form, header, answer)
        assert raw.post("/password", right).status == 401, "without a cookie"
        assert raw.post("/logout", {}, ann).status == 403
        for header in ("Origin: https://evil.example", "Sec-Fetch-Site: cross-site"):
            known = {"name": "ann", "password": PASSWORD}
            assert raw.post("/login", known, header).status == 403, "nor is anybody logged in"
        ours = ("Origin: https://fw1", "Sec-Fetch-Site: same-origin")
        assert raw.post("/logout", {"token": mine}, ann, *ours).status == 303
    assert web.log_in("ann", PASSWORD).status == 303, "it is still the old one"


# ------------------------------------------------------------------------------ brute force


def guessed(guess: Callable[[], Answer]) -> list[int]:
    """The answers, until there is more than a second to wait."""
    found: list[int] = []
    while True:
        answer = guess()
        found.append(answer.status)
        if answer.status == 429:
            named = answer.headers.get("retry-after") or AGAIN.findall(answer.body)[0]
            if int(named) > 1:
                return found


def test_guesses_from_many_addresses_keep_the_owner_out_of_nothing(web: RealWeb) -> None:
    def form(password: str) -> dict[str, str]:
        return {"name": "carl", "password": password}

    with ExitStack() as stack:
        many = [stack.enter_context(web.raw(f"127.0.1.{number}")) for number in range(1, 9)]
        other, fresh = (stack.enter_context(web.raw(source)) for source in (OTHER, "127.0.1.9"))
        assert other.post("/login", form(PASSWORD)).status == 303
        turns = cycle(many)
        statuses = guessed(lambda: next(turns).post("/login", form("wrong")))
        assert fresh.post("/login", form(PASSWORD)).status == 429, "not even the right one"
        assert other.post("/login", form(PASSWORD)).status == 303, "where carl was before"
    assert statuses[:FREE] == [403] * FREE and statuses.count(403) <= FREE + 2


def test_guesses_from_one_address_stop_whatever_the_name_and_the_connection(web: RealWeb) -> None:
    source = "127.0.2.1"
    with ExitStack() as stack:
        several = [stack.enter_context(web.raw(source)) for _ in range(FREE + 3)]
        for number, raw in enumerate(several):  # all at once: nobody waits for an answer
            raw.posts("/login", {"name": f"name{number}", "password": "wrong"})
        statuses = [raw.hears().status for raw in several]
        assert FREE <= statuses.count(403) <= FREE + 2
        turns, bob = cycle(several), {"name": "bob", "password": PASSWORD}
        guessed(lambda: next(turns).post("/login", {"name": "else", "password": "wrong"}))
        told = ("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1")
        assert several[0].post("/login", bob, *told).status == 429
        assert stack.enter_context(web.raw("127.0.2.2")).post("/login", bob).status == 303


def test_codes_and_tokens_cannot_be_guessed_either(web: RealWeb) -> None:
    def step(raw: Raw) -> dict[str, str]:
        page = raw.post("/login", {"name": "dora", "password": PASSWORD})
        assert page.status == 200, "half the way"
        return {"step": page.body.partition('name="step" value="')[2].partition('"')[0]}

    with ExitStack() as stack:
        mine, one, another = (
            stack.enter_context(web.raw(source)) for source in (OTHER, "127.0.3.1", "127.0.3.2")
        )
        assert mine.post("/login/code", {**step(mine), "code": RECOVERY[0]}).status == 303
        key, turns = step(one), cycle(("000000", "wrong-recovery-code"))
        statuses = guessed(lambda: one.post("/login/code", {**key, "code": next(turns)}))
        assert statuses[: FREE - 1] == [403] * (FREE - 1), "the password counts as one"
        assert statuses.count(403) <= FREE + 1
        right = {"code": RECOVERY[1]}
        assert another.post("/login/code", {**key, **right}).status == 429, "not even the right one"
        assert mine.post("/login/code", {**step(mine), **right}).status == 303, "where dora was"
        wrong = guessed(lambda: another.get("/metrics", "Authorization: Bearer wrong"))
        assert wrong[:FREE] == [401] * FREE and wrong.count(401) <= FREE + 2


# ------------------------------------------------------------------------------ TLS


def test_what_is_no_tls_is_cut(web: RealWeb) -> None:
    for data in (b"GET / HTTP/1.1\r\nHost: fw1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 600):
        with socket.create_connection((HERE, web.port), 20) as plain:
            plain.sendall(data)
            assert b"HTTP" not in plain.recv(4096)
            try:
                assert plain.recv(4096) == b""
            except ConnectionResetError:
                pass


def test_half_handshakes_take_no_place_of_others(web: RealWeb) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 2 * HELD), limits[1]))
    held: list[socket.socket] = []
    try:
        most = 0
        for number in range(HELD):
            held.append(socket.create_connection((HERE, web.port), 20, ("127.0.4.1", 0)))
            if number % 100 == 99:
                with web.raw(OTHER) as raw:
                    assert raw.get("/login").status == 200
                most = max(most, web.files)
        assert most < 2 * HANDSHAKES_MAX
        assert web.log_in("bob", PASSWORD, OTHER).status == 303
    finally:
        for one in held:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
