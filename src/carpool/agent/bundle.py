"""Many contents in one stream: of each its SHA-256 (32 bytes), length (8, big endian) and bytes.

Room: agent. One request for thousands of files; refuses to know what they are for.
"""

from __future__ import annotations

import asyncio
import queue
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from carpool.errors import PeerError
from carpool.kernel import tree
from carpool.model.manifest import Entry

_HEADER = struct.Struct("!32sQ")
HEADER_BYTES = _HEADER.size
CONTENTS_MAX_BYTES = 16 * 1024**3  # of one stream
PIECE_BYTES = 1024 * 1024
_WAITING_MAX = 64  # chunks between the network and the disk


def header(sha256: str, size: int) -> bytes:
    return _HEADER.pack(bytes.fromhex(sha256), size)


async def bundled(files: Iterable[tuple[Entry, Path]]) -> AsyncIterator[bytes]:
    """All these contents, each below its root, read in a thread, for disks may be slow; in large
    pieces, for each costs both ends as much as a hundred kilobytes."""

    def pieces() -> Iterator[bytes]:
        for entry, root in files:
            yield header(entry.sha256, entry.size)
            yield from tree.contents(entry, root)

    source = pieces()

    def some() -> bytes:
        piece = bytearray()
        while len(piece) < PIECE_BYTES and (more := next(source, None)) is not None:
            piece += more
        return bytes(piece)

    while piece := await asyncio.to_thread(some):
        yield piece


def unbundle(chunks: Iterable[bytes]) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    """Digest, length and the pieces of each content, which are to be read before the next one.
    Raises PeerError for a stream that ends too early."""
    buffer = bytearray()
    source = iter(chunks)

    def more() -> None:
        data = next(source, None)
        if data is None:
            raise PeerError("the stream of contents ended in the middle of one")
        buffer.extend(data)

    def pieces(left: int) -> Iterator[bytes]:
        while left:
            if not buffer:
                more()
            piece = bytes(buffer[:left])
            del buffer[:left]
            left -= len(piece)
            yield piece

    while True:
        while len(buffer) < _HEADER.size:
            data = next(source, None)
            if data is None:
                if buffer:
                    raise PeerError("the stream of contents ended in the middle of a header")
                return
            buffer.extend(data)
        digest, size = _HEADER.unpack_from(buffer)
        del buffer[: _HEADER.size]
        content = pieces(size)
        yield digest.hex(), size, content
        for _rest in content:  # what the reader left
            pass


async def in_thread(chunks: AsyncIterator[bytes], work: Callable[[Iterator[bytes]], None]) -> None:
    """Run blocking `work` on chunks as they come from the network; raises what it raises."""
    waiting: queue.Queue[bytes | None] = queue.Queue(_WAITING_MAX)

    def run() -> None:
        left = iter(waiting.get, None)
        try:
            work(left)
        finally:
            for _chunk in left:  # the feeder must not wait for ever
                pass

    # Of its own: if all threads of the loop waited for a network, none would be left to end that.
    thread = ThreadPoolExecutor(1)
    task = asyncio.get_running_loop().run_in_executor(thread, run)
    thread.shutdown(wait=False)  # after this
    try:
        async for chunk in chunks:
            if not chunk:
                continue
            try:
                waiting.put_nowait(chunk)
            except queue.Full:  # now only is it worth a thread
                await asyncio.to_thread(waiting.put, chunk)
    finally:
        await asyncio.to_thread(waiting.put, None)
        await task
