"""Loads the nft table `inet carpool_rules` in one transaction, and takes it away.

Room: kernel. Refuses to know what is in it (`proto/ownrules.py`), and to touch any other table.
"""

from __future__ import annotations

from carpool.errors import KernelError
from carpool.kernel.nftload import give, tables
from carpool.proto.ownrules import FAMILY, TABLE


def is_loaded() -> bool:
    """Blocking. Raises KernelError."""
    return (FAMILY, TABLE) in tables()


def run(script: str, *, dry: bool = False) -> None:
    """Give a script to nft, or have it only checked. Blocking. Raises KernelError; then nothing of
    it was done."""
    refused = give(script, dry=dry)
    if refused:
        hint = "this needs root" if "not permitted" in refused else "nothing of it was loaded"
        raise KernelError(f"nft refuses the rules: {refused}", hint=hint)
