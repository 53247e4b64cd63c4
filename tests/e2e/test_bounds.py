"""Bounds on everything that a client can hold: heads, bodies, nesting, slow senders, slow readers, connections."""

import contextlib
import json
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from vssm_server.api.wire import MOST_AHEAD

from tests.e2e.serving import Serve, until

SECONDS = 1


@pytest.fixture(scope="module")
def bounded(serve: Serve) -> Iterator[Serve]:
    """An API with tight bounds beside the common server."""
    api = serve.beside(
        max_header_bytes=2000, max_url_bytes=500, header_seconds=SECONDS, body_seconds=SECONDS, idle_seconds=SECONDS,
        read_seconds=SECONDS, max_connections=40, max_json_depth=4, max_body_bytes=100_000, max_observed_steps=100,
        max_length=10**6, max_request_steps=10**7, cors_origins="https://app.example",
    )  # fmt: skip
    until(api.alive)
    yield api
    assert api.stop() == 0


@pytest.fixture
def connect(bounded: Serve) -> Iterator[Callable[..., socket.socket]]:
    """A connection on which some bytes were sent."""
    opened: list[socket.socket] = []

    def begin(data: bytes = b"", receive: int | None = None) -> socket.socket:
        link = socket.socket()
        if receive is not None:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        link.connect(("127.0.0.1", bounded.client.base_url.port))
        link.settimeout(20)
        link.sendall(data)
        opened.append(link)
        return link

    yield begin
    for link in opened:
        link.close()


Connect = Callable[..., socket.socket]
HEAD = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def end(link: socket.socket) -> tuple[bytes, float]:
    """All that comes until the connection ends, and how long that took."""
    began, data = time.monotonic(), b""
    try:
        while more := link.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data, time.monotonic() - began


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"x" * 600 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2100 + b"\r\n\r\n", b"431"),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 400 + b"\r\n", b"431"),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 3000, b"431"),  # without an end
        (b"GET /" + b"x" * 3000, b"431"),
    ],
)
def test_heads(connect: Connect, head: bytes, status: bytes) -> None:
    answer, _ = end(connect(head))
    assert answer.split(b" ")[1] == status
    error = json.loads(answer.split(b"\r\n\r\n")[1])["error"]
    assert error["code"] == int(status)
    assert b"\r\nx-request-id: " + error["request_id"].encode() + b"\r\n" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /livez HTT",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n",
        HEAD + b"Content-Length: 50\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ],
)
def test_slow_senders_are_cut_off(connect: Connect, data: bytes) -> None:
    link = connect(data)
    answer, seconds = end(link)
    assert answer == b""
    assert SECONDS / 2 < seconds < 5 * SECONDS


def test_drops_do_not_help_a_slow_sender(connect: Connect) -> None:
    link = connect(b"GET /livez HTTP/1.1\r\n")
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 10:
            link.sendall(b"X: y\r\n")
            time.sleep(0.1)
    assert time.monotonic() - began < 5 * SECONDS


def test_idle_connections_are_closed(connect: Connect) -> None:
    link = connect(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer, seconds = end(link)
    assert answer.startswith(b"HTTP/1.1 200")
    assert seconds < 5 * SECONDS


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nA b\r\n\r\n",
        HEAD + b"Content-Length: 1, 2\r\n\r\n",
    ],
)
def test_what_is_not_http_has_the_answer_of_every_error(connect: Connect, data: bytes) -> None:
    head, _, body = end(connect(data))[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error"]["type"] == "invalid_request"
    assert b"\r\nconnection: close" in head


def test_parts_of_files_are_not_for_asking(bounded: Serve) -> None:
    whole = bounded.client.get("/playground/main.js")
    for ranges in ("bytes=0-9", "bytes=9-1,x", "bytes=99999999999999999999-"):
        answer = bounded.client.get("/playground/main.js", headers={"Range": ranges})
        assert (answer.status_code, answer.content) == (200, whole.content)


def test_garbage_after_a_request_takes_it_no_answer(connect: Connect) -> None:
    body = b'{"model": "pixels", "length": 2000}'
    data = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"\x00garbage\r\n\r\n"
    answer = end(connect(data))[0]
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["position"] == 2000


def test_requests_sent_ahead(bounded: Serve, connect: Connect) -> None:
    """They are answered in their order, up to a bound; and all of them end when their client leaves."""
    slow = b'{"model": "pixels", "length": 500000, "num_samples": 8}'
    first = HEAD + b"Content-Length: %d\r\n\r\n" % len(slow) + slow
    other = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert end(connect(other * 5))[0].count(b"HTTP/1.1 200") == 5
    cancelled, errors = bounded.metric("vssm_requests_cancelled_total"), log_of(bounded).count("Traceback")
    link = connect(first + other * 5)
    until(lambda: bounded.metric("vssm_requests_active") == 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()
    until(lambda: bounded.metric("vssm_requests_active") == 0)
    assert bounded.metric("vssm_requests_cancelled_total") == cancelled + 1
    quick = b'{"model": "pixels", "length": 4000}'
    begun = HEAD + b"Content-Length: %d\r\n\r\n" % len(quick) + quick
    assert end(connect(begun + other * 200))[0].count(b"HTTP/1.1 200") == MOST_AHEAD
    assert log_of(bounded).count("Traceback") == errors


def log_of(server: Serve) -> str:
    return (server.folder / "log").read_text()


def test_a_stream_that_nobody_reads_is_ended(bounded: Serve, connect: Connect) -> None:
    """And so is its work."""
    body = json.dumps({"model": "pixels", "length": 500_000, "num_samples": 8, "stream": True}).encode()
    before = bounded.metric("vssm_requests_cancelled_total")
    link = connect(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body, receive=4096)
    until(lambda: bounded.metric("vssm_requests_active") == 1)
    until(lambda: bounded.metric("vssm_requests_active") == 0, 20)
    assert bounded.metric("vssm_requests_cancelled_total") == before + 1
    assert b"event: done" not in end(link)[0]


def test_a_result_that_nobody_reads_is_dropped(bounded: Serve, connect: Connect) -> None:
    body = json.dumps({"model": "pixels", "length": 500_000, "num_samples": 8}).encode()
    link = connect(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body, receive=4096)
    time.sleep(0.5)
    until(lambda: bounded.metric("vssm_requests_active") == 0, 30)
    time.sleep(2 * SECONDS + 0.5)
    head, _, part = end(link)[0].partition(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
    assert len(part) < int(length.split()[1])


def test_what_waits_for_a_slow_reader_is_bounded(serve: Serve, beside: Callable[..., Serve]) -> None:
    api = beside(serve, max_stream_buffer_bytes=50_000, read_seconds=60, max_length=10**6, max_request_steps=10**7)
    body = {"model": "pixels", "length": 900_000, "num_samples": 8, "stream": True}
    with api.client.stream("POST", "/generate", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        until(lambda: api.metric("vssm_requests_running") == 1)
        until(lambda: api.metric("vssm_requests_running") == 0, 60)
        rest = "\n".join(lines)
    assert "reads slower than values are made" in rest
    assert serve.generate(model="pixels", length=5)["position"] == 5


def test_connections(bounded: Serve, connect: Connect) -> None:
    links = [connect(b"GET /livez HTT") for _ in range(60)]
    ended = 0
    for link in links:
        link.settimeout(0.05)
        try:
            ended += link.recv(1) == b""
        except TimeoutError:
            pass
        except ConnectionResetError:
            ended += 1
    assert ended >= 20
    until(bounded.alive)


def test_who_only_holds_connections_keeps_nobody_out(serve: Serve, beside: Callable[..., Serve]) -> None:
    """Neither those who say nothing, nor those who stay after an answer; but requests under way are kept."""
    api = beside(serve, max_connections=20, header_seconds=600, idle_seconds=600)
    body = json.dumps({"model": "pixels", "length": 50_000, "stream": True}).encode()
    with contextlib.ExitStack() as stack:

        def link(data: bytes) -> socket.socket:
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", api.client.base_url.port or 0), 30))
            opened.sendall(data)
            return opened

        stream = link(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert stream.recv(100).startswith(b"HTTP/1.1 200")
        for number in range(100):
            link(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" if number % 2 else b"")
            time.sleep(0.005)
        assert httpx.get(f"{api.client.base_url}/livez").status_code == 200
        assert b"event: done" in end(stream)[0]


def test_as_many_connections_as_files_may_be_opened() -> None:
    code = "from vssm_server.api.wire import allowed_connections as allowed; print(allowed(16_384), allowed(10))"
    command = ["sh", "-c", 'ulimit -n 400 && exec "$0" -c "$1"', sys.executable, code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["144", "10"]


@pytest.mark.parametrize(("depth", "status"), [(3, 422), (50, 400), (100_000 // 2, 400)])
def test_nesting(bounded: Serve, depth: int, status: int) -> None:
    body = b'{"model": "pixels", "prefix": ' + b"[" * depth + b"]" * depth + b"}"
    headers = {"Content-Type": "application/json"}
    assert bounded.client.post("/generate", content=body[:99_999], headers=headers).status_code == status
    text = {"model": "text", "prefix": "[[[[[[[[", "length": 1}
    assert bounded.client.post("/generate", json=text).status_code == 200


def test_observed_work(bounded: Serve) -> None:
    body: dict[str, Any] = {"model": "pixels", "prefix": [0] * 10, "num_samples": 5, "num_particles": 2, "length": 1}
    assert bounded.client.post("/generate", json=body).status_code == 200
    refused = bounded.client.post("/generate", json={**body, "num_samples": 6})
    assert refused.status_code == 422
    assert "at most 100" in refused.json()["error"]["message"]


def test_every_answer_has_the_headers_that_browsers_heed(bounded: Serve) -> None:
    for path in ("/", "/docs", "/models", "/nothing", "/playground/main.js"):
        answer = bounded.client.get(path)
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"], path
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers.get_list("Referrer-Policy") == ["no-referrer"]
        assert "server" not in answer.headers
    for path in ("/", "/docs"):
        policy = bounded.client.get(path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]


def test_other_origins_are_let_in_only_where_they_are_named(serve: Serve, bounded: Serve) -> None:
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked = bounded.client.options("/generate", headers=headers)
    assert asked.headers["Access-Control-Allow-Origin"] == "https://app.example"
    other = bounded.client.options("/generate", headers={**headers, "Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers
    assert "Access-Control-Allow-Origin" not in serve.client.options("/generate", headers=headers).headers


def test_https(serve: Serve, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "chain.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    api = serve.beside(tls_certificate_file=tmp_path / "chain.pem", tls_key_file=tmp_path / "key.pem")
    api.client.close()
    port = api.settings["port"]
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    api.client = httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context)
    until(api.ready)
    assert api.generate(model="pixels", length=5)["position"] == 5
    assert api.stop() == 0
