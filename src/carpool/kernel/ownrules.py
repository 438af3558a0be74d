"""Loads the nft table `inet carpool_rules` in one transaction, and takes it away.

Room: kernel. Refuses to know what is in it (`proto/ownrules.py`), and to touch any other table.
"""

from __future__ import annotations

import subprocess

from carpool.errors import KernelError
from carpool.kernel.checkrun import ENVIRONMENT
from carpool.kernel.nftload import NFT_WAIT_S, SAID_MAX, tables
from carpool.proto.ownrules import FAMILY, TABLE


def is_loaded() -> bool:
    """Blocking. Raises KernelError."""
    return (FAMILY, TABLE) in tables()


def run(script: str, *, dry: bool = False) -> None:
    """Give a script to nft, or have it only checked. Blocking. Raises KernelError; then nothing of
    it was done."""
    argv = ("nft", *(("-c",) if dry else ()), "-f", "-")
    try:
        done = subprocess.run(
            argv,
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=NFT_WAIT_S,
            check=False,
            env=ENVIRONMENT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"cannot run nft: {error}", hint="apt install nftables") from error
    if done.returncode != 0:
        said = done.stderr.strip()[-SAID_MAX:]
        hint = "this needs root" if "not permitted" in said else "nothing of it was loaded"
        raise KernelError(f"nft refuses {FAMILY} {TABLE}: {said}", hint=hint)
