"""The pages of a firewall of a lab, as a browser of this host comes to them."""

from __future__ import annotations

from pathlib import Path

from carpool.lab.bare import BareFirewall
from carpool.lab.firewall import WEB


class WebNode:
    """`account` and `password` are those of its first start."""

    def __init__(self, firewall: BareFirewall) -> None:
        self.firewall = firewall
        self.url = firewall.pages.link.rstrip("/")
        self.account, self.password = firewall.pages.first_login()

    def memory_mb(self) -> float:
        """RSS, proc_pid_status(5)."""
        process = self.firewall.tracked(WEB)
        assert process is not None
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6
