"""Many contents in one stream: of each its SHA-256 (32 bytes), length (8, big endian) and bytes.

Room: agent. One request for thousands of files; refuses to know what they are for.
"""

from __future__ import annotations

import asyncio
import queue
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
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


async def bundled(files: Iterable[tuple[Entry, Path]]) -> AsyncGenerator[bytes, None]:
    """All these contents, each below its root, read in a thread, for disks may be slow; in large
    pieces, for each costs both ends as much as a hundred kilobytes. While one is on its way, the
    next one is read."""

    def pieces() -> Iterator[bytes]:
        for entry, root in files:
            yield header(entry.sha256, entry.size)
            yield from tree.contents(entry, root)

    source = pieces()

    def some() -> bytes:
        parts, size = [], 0
        while size < PIECE_BYTES and (more := next(source, None)) is not None:
            parts.append(more)
            size += len(more)
        return b"".join(parts)

    ahead = asyncio.create_task(asyncio.to_thread(some))
    try:
        while piece := await ahead:
            ahead = asyncio.create_task(asyncio.to_thread(some))
            yield piece
    finally:
        ahead.cancel()


def unbundle(chunks: Iterable[bytes]) -> Iterator[tuple[str, int, Iterator[memoryview]]]:
    """Digest, length and the pieces of each content, which are to be read before the next one; a
    piece is a part of a chunk, not a copy. Raises PeerError for a stream that ends too early."""
    source = iter(chunks)
    rest = memoryview(b"")  # of the last chunk

    def part(size: int) -> memoryview:
        """The next bytes, as many of these as are there; none at the end."""
        nonlocal rest
        while not rest:
            data = next(source, None)
            if data is None:
                break
            rest = memoryview(data)
        found, rest = rest[:size], rest[size:]
        return found

    def pieces(left: int) -> Iterator[memoryview]:
        while left:
            piece = part(left)
            if not piece:
                raise PeerError("the stream of contents ended in the middle of one")
            left -= len(piece)
            yield piece

    while True:
        head = b""
        while len(head) < HEADER_BYTES:
            more = part(HEADER_BYTES - len(head))
            if not more:
                if head:
                    raise PeerError("the stream of contents ended in the middle of a header")
                return
            head += more
        digest, size = _HEADER.unpack(head)
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
