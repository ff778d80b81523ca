"""A wire before an upstream, of so many bytes a second in all; it says what went over it, and when.

python -m bench.relay PORT [BYTES A SECOND]   prints its port; for each line of input, what went
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

_PIECE = 2**16
_LATE = 0.05  # seconds that may be made up for: a sleep ends late on a busy machine


@dataclass(slots=True)
class Sent:
    """The answer to one request: its bytes, head included, and when the first of them went (monotonic)."""

    target: str
    count: int = 0
    first: float = 0.0


class Rate:
    """Lets so many bytes a second go, over all connections; 0 is no limit."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free = rate, 0.0

    async def pass_by(self, count: int) -> None:
        if not self._rate:
            return
        self._free = max(self._free, time.monotonic() - _LATE) + count / self._rate
        if (wait := self._free - time.monotonic()) > 0:
            await asyncio.sleep(wait)


class Relay:
    def __init__(self, port: int, rate: float) -> None:
        self._port, self._rate = port, Rate(rate)
        self.sent: list[Sent] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_PIECE)
        asked: list[Sent] = []  # on this connection; the last is being answered

        def hear(piece: bytes) -> None:
            if piece.startswith((b"GET ", b"HEAD ")):
                asked.append(Sent(piece.split(b" ", 2)[1].decode()))
                self.sent.append(asked[-1])

        def tell(piece: bytes) -> None:
            asked[-1].first = asked[-1].first or time.monotonic()
            asked[-1].count += len(piece)

        there = asyncio.create_task(_carry(reader, other_writer, hear, Rate(0)))
        await _carry(other_reader, writer, tell, self._rate)
        there.cancel()
        other_writer.close()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, see: Callable[[bytes], None], rate: Rate
) -> None:
    try:
        while piece := await reader.read(_PIECE):
            await rate.pass_by(len(piece))
            see(piece)
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(port: int, rate: float) -> None:
    relay = Relay(port, rate)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0, limit=_PIECE)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps([asdict(each) for each in relay.sent]), flush=True)
        relay.sent.clear()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0))
