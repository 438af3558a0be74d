"""Memory that is freed and asked for again comes from this process, not from the kernel."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from carpool.kernel.heap import keep_for_pieces

keep_for_pieces()
for round in range(50):
    pieces = [bytes(1 << 20) for _ in range(4)]
    pieces = None
    if round == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_pieces_that_come_and_go_take_no_new_pages() -> None:
    """In a process of its own: it cannot be undone."""
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    ).stdout
    assert int(said) < 256, "48 rounds of 4 MB are 49,152 pages"


GIVES_BACK = """
import sys, threading
from pathlib import Path
from argon2 import PasswordHasher
from carpool.kernel.heap import give_back_pieces

if sys.argv[1:]:
    give_back_pieces()
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1])
hasher = PasswordHasher(1, 12 * 1024, 1)
hasher.hash("so that all of it is loaded")
before = resident()
for round in range(3):
    thread = threading.Thread(target=hasher.hash, args=("password",))
    thread.start()
    thread.join()
print(resident() - before)
"""


def test_a_piece_is_given_back_at_once() -> None:
    kept, given = (
        subprocess.run(
            [sys.executable, "-c", GIVES_BACK, *words], capture_output=True, text=True, check=True
        ).stdout
        for words in ([], ["give back"])
    )
    assert int(given) < 512 < int(kept), "pages; 12 MiB are 3,072"
