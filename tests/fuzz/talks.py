"""The families of abuse: what nobody should send, and what may be answered."""

import random
from collections.abc import Callable

from tests.fuzz.mutate import mutate
from tests.fuzz.sockets import Talk

BODY = b'{"model": "image", "num_samples": 2, "length": 4, "seed": 7}'
STREAM = b'{"model": "image", "num_samples": 8, "length": 32, "stream": true}'
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


def families(key: str) -> dict[str, Callable[[random.Random, int], Talk]]:
    """By name: what makes the talk of a number."""
    head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n" % key.encode()
    make = _Talks(head + b"Content-Type: application/json\r\n")
    names = (
        "truncated",
        "slow_head",
        "slow_body",
        "garbage_after",
        "oversize",
        "bad_chunks",
        "two_lengths",
        "odd_bytes",
        "odd_heads",
        "resets",
        "mutated",
    )
    return {name: getattr(make, name) for name in names}


class _Talks:
    def __init__(self, head: bytes) -> None:
        self.head = head
        self.whole = self.framed(BODY)
        self.stream = self.framed(STREAM)

    def framed(self, body: bytes) -> bytes:
        """A request that is right."""
        return self.head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def truncated(self, rng: random.Random, _: int) -> Talk:
        """Ends anywhere."""
        data = rng.choice((self.whole, self.stream))
        return Talk((data[: rng.randrange(len(data))],), end=rng.choice(("half", "close", "reset", "wait")))

    def slow_head(self, rng: random.Random, _: int) -> Talk:
        """Drop by drop: slowloris."""
        size = rng.choice((1, 2, 3))
        drops = [self.head[place : place + size] for place in range(0, 60 * size, size)]
        return Talk(tuple(drops), pause=0.1, most_answers=0)

    def slow_body(self, rng: random.Random, _: int) -> Talk:
        """A head that promises more than ever comes."""
        chunked = self.head + b"Transfer-Encoding: chunked\r\n\r\n"
        drops = (chunked, *[b"1\r\n{\r\n"] * 60) if rng.random() < 0.5 else (self.whole[: -len(BODY)], *[b" "] * 50)
        return Talk(drops, pause=0.1, most_answers=0)

    def garbage_after(self, rng: random.Random, number: int) -> Talk:
        """Right requests, several at once, and then none."""
        count = number % 5
        rubbish = rng.choice(
            (rng.randbytes(50), b"\r\n\r\n\x00\x00", b"GET\r\n\r\n", b"}" * 99, b"\x16\x03\x01\x02\x00\x01")
        )
        return Talk((self.whole * count + rubbish,), end=rng.choice(("half", "wait", "reset")), most_answers=count + 1)

    def oversize(self, rng: random.Random, number: int) -> Talk:
        """Heads without measure."""
        heads = (
            b"GET /" + b"x" * 30_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            self.head + b"X-Long: " + b"y" * 60_000 + b"\r\n\r\n",
            self.head + b"X: y\r\n" * 9_000 + b"\r\n",
            self.head + b"Z" * 40_000 + b": 1\r\n\r\n",
            b"G" * 100_000,
            self.head + b"Content-Length: 99999999999\r\n\r\n{",
            self.head + b"X-Endless: " + rng.randbytes(20_000),
        )
        return Talk((heads[number % len(heads)],), end=rng.choice(("half", "wait")))

    def bad_chunks(self, rng: random.Random, number: int) -> Talk:
        """Transfer-Encoding: chunked, wrongly."""
        bodies = (
            b"zz\r\n{}\r\n0\r\n\r\n",
            b"-1\r\n{}\r\n0\r\n\r\n",
            b"FFFFFFFFFFFFFFFFFF\r\n{}",
            b"5\r\n{}\r\n0\r\n\r\n",
            b"2;" + b"a" * 30_000 + b"\r\n{}\r\n0\r\n\r\n",
            b"2\n{}\n0\n\n",
            b"0x2\r\n{}\r\n0\r\n\r\n",
            b"2 \r\n{}\r\n0\r\n\r\n",
            b"2\r\n{}XX0\r\n\r\n",
            b"0\r\nTrailer: " + b"t" * 50_000 + b"\r\n\r\n",
            b"0\r\n" + b"T: 1\r\n" * 5_000 + b"\r\n",
            b"%x\r\n%s\r\n" % (len(BODY), BODY),
            b"2\r\n{}\r\n",
            b"\r\n",
            b"1\r\n{\r\n" * 500,
        )
        body = bodies[number % len(bodies)]
        more = b"Transfer-Encoding: chunked\r\n\r\n"
        return Talk((self.head + more + body,), end=rng.choice(("half", "wait", "reset")))

    def two_lengths(self, rng: random.Random, number: int) -> Talk:
        """Framing that two readers may take differently: what is behind it must never be answered."""
        size = len(BODY)
        frames = (
            b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % size,
            b"Content-Length: 2\r\nContent-Length: %d\r\n" % size,
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding : chunked\r\nContent-Length: 4\r\n",
            b"Content-Length: +%d\r\n" % size,
            b"Content-Length: -1\r\n",
            b"Content-Length: 0x10\r\n",
            b"Content-Length: 1e1\r\n",
            b"Content-Length: 5, 5\r\n",
            b"Content-Length:\r\n",
            b"Content-Length: 18446744073709551617\r\n",
            b"Transfer-Encoding:\x0bchunked\r\n",
            b"X: y\r\n Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Content-Length: 4 4\r\n",
        )
        data = self.head + frames[number % len(frames)] + b"\r\n" + b"0\r\n\r\n" + SMUGGLED
        return Talk((data,), end=rng.choice(("half", "wait")))

    def odd_bytes(self, rng: random.Random, _: int) -> Talk:
        """NUL, control characters, bytes beyond ASCII, line ends: anywhere in the head."""
        odd = rng.choice(
            (b"\x00", b"\xff", b"\x80", b"\r", b"\n", b"\x7f", b"\x1b[2J", "\u00e9\u2028".encode(), b"\xed\xa0\x80")
        )
        place = rng.randrange(len(self.head))
        cut = rng.choice((0, 1))
        return Talk((self.whole[:place] + odd + self.whole[place + cut :],), end=rng.choice(("half", "wait")))

    def odd_heads(self, rng: random.Random, number: int) -> Talk:
        """Lines that are unusual, or nearly right."""
        lines = (
            b"GET / HTTP/0.9\r\n\r\n",
            b"GET /livez HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /livez\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET http://[ HTTP/1.1\r\nHost: [\r\n\r\n",
            b"GET /nothing HTTP/1.1\r\nHost: [\r\n\r\n",
            b"GET /nothing HTTP/1.1\r\nHost: [::1\r\n\r\n",
            b"GET /nothing HTTP/1.1\r\nHost: \xff\xfe@:99999\r\n\r\n",
            b"GET /nothing HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET /nothing HTTP/1.1\r\n\r\n",
            b"GET //evil.example/..%2f..%00%0d%0aX:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /playground/..%2f..%2fsettings.py HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /playground/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /docs/assets/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /playground/" + b"a" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /playground/ HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x80",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
            b"TRACE / HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99999999999999999999\r\n\r\n",
            b"GET /playground/main.js HTTP/1.1\r\nHost: x\r\nRange: bytes=5-1,x,-\r\n\r\n",
            b"GET /playground/main.js HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: \xff\r\nIf-None-Match: \x80\r\n\r\n",
            self.framed(BODY).replace(b"application/json", b"application/json; charset=\xff"),
            self.framed(BODY).replace(b"Content-Type", b"Idempotency-Key: \xff\xfe\r\nContent-Type"),
            self.framed(BODY).replace(b"Content-Type", b"Accept: \xff/\x80;q=nan\r\nContent-Type"),
            self.framed(BODY).replace(b"Bearer ", b"Bearer \xff"),
            self.framed(BODY).replace(b"Content-Type", b"traceparent: 00-\xff\r\nX-Request-ID: \xff\r\nContent-Type"),
        )
        return Talk((lines[number % len(lines)],), end=rng.choice(("half", "wait")), most_answers=2)

    def resets(self, rng: random.Random, _: int) -> Talk:
        """Streams that their clients leave by a reset, at any moment."""
        return Talk(
            (self.stream,), pause=rng.choice((0.0, 0.005, 0.05)), end="reset", hear=rng.choice((0, 1, 500, 5000))
        )

    def mutated(self, rng: random.Random, number: int) -> Talk:
        """Right requests, changed here and there."""
        data = mutate((self.whole, self.stream, self.whole * 2), rng.getrandbits(30), 3 + number)
        return Talk((data,), end=rng.choice(("half", "wait", "reset")), most_answers=99)
