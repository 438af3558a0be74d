"""The exception tree, ordered by who must act, and the exit codes that go with it.

Importable by every room; imports nothing. Knows nothing of how an error came about.
A fault that no operator, peer or kernel caused is a bug and stays an AssertionError.
"""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2  # argparse's own
EXIT_CONFIG = 3  # an operator has to edit a file
EXIT_UNREACHABLE = 4  # a process of this node did not answer
EXIT_INTERRUPTED = 130  # 128 and SIGINT, as shells say it


class CarpoolError(Exception):
    """What went wrong and where (`message`), and what to do next (`hint`)."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(CarpoolError):
    """An operator must edit a file."""

    exit_code = EXIT_CONFIG


class PeerError(CarpoolError):
    """The other node sent or did something that we refuse."""


class DefinitionError(PeerError):
    """What the other node sent fits what a section is over there, and not what it is here."""


class KernelError(CarpoolError):
    """The kernel refused an operation; the message carries operation, object and errno."""


class UnreachableError(CarpoolError):
    """A carpool process on this node does not answer on its control socket."""

    exit_code = EXIT_UNREACHABLE


class NotRunningError(UnreachableError):
    """Nobody listens on the control socket: what is said there cannot have been heard."""
