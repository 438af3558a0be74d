"""TLS 1.3 between paired nodes: a stream on which each end has proven to be the one that is pinned.

Room: kernel. Nothing but the pinned certificate is trusted: no authority, no name, no resumed
session. Dates decide nothing: a node whose clock stands in 1970 after a power cut must find its
peer, and who is not to be trusted any more is unpaired. Refuses to know what is sent, and how
certificates come to be pinned.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from carpool.kernel.keys import Credentials, Keys, Trouble, shown
from carpool.kernel.poller import Poller
from carpool.kernel.stream import QUEUE_MAX_BYTES, Stream, Wire

# What one key may encrypt: AES-GCM is good for 2^34.5 blocks of 16 bytes (RFC 8446 5.5: 2^24.5
# records of 2^14 bytes). Python cannot ask OpenSSL for a new key, so a fresh stream follows.
KEY_MAX_BYTES = 2**38
_RECORD_MAX_BYTES = 16 * 1024  # of plain text, RFC 8446 5.1
# Read at a time. What is plain is shorter, but for the rest of a record that came before.
ROUND_BYTES = 128 * 1024
_CERTIFICATE_MESSAGE = 11  # RFC 8446 4
_NO_CHECK_TIME = 0x200000  # x509_vfy.h: X509_V_FLAG_NO_CHECK_TIME


class Tls(Wire):
    """Makes streams to the peers of `node` with the keys in `directory`, read for each anew."""

    def __init__(self, directory: Path, node: str) -> None:
        self.keys = Keys(directory, node)

    def check(self, peer: str, *streams: Stream) -> None:
        """Raises Trouble when there can be no stream with this peer (any more): it is not paired,
        or paired anew since one of these began."""
        found = self.keys.credentials(peer)
        if any(isinstance(each, TlsStream) and each.credentials != found for each in streams):
            raise Trouble("paired_anew", f"{self.keys.node} and {peer} have been paired anew")

    def stream(
        self,
        sock: socket.socket,
        poller: Poller,
        on_data: Callable[[bytes], None],
        on_close: Callable[[str], None],
        *,
        peer: str,
        dialled: bool,
    ) -> Stream:
        """A stream on a connected socket, as client if we dialled. Raises Trouble when our files do
        not allow it; what the peer does wrong ends the stream later."""
        credentials = self.keys.credentials(peer)
        context = pinning(credentials, server=not dialled)
        names = (self.keys.node, peer)
        return TlsStream(sock, poller, on_data, on_close, context, credentials, names)


def bare(path: Path | None, *, server: bool) -> ssl.SSLContext:
    """TLS 1.3 with our key and certificate, and no trust in anybody. Raises Trouble."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if server:
        context.num_tickets = 0
    if path is not None:
        try:
            context.load_cert_chain(path)
        except OSError as error:
            raise Trouble(
                "unreadable",
                f"cannot use the key and certificate in {path}: {_words(error)}",
                hint="restore the file, or remove it and pair again",
            ) from error
    return context


def pinning(credentials: Credentials, *, server: bool) -> ssl.SSLContext:
    """TLS 1.3 with our certificate, for the holder of the pinned one only. Raises Trouble."""
    context = bare(credentials.path, server=server)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= _NO_CHECK_TIME
    try:
        context.load_verify_locations(cadata=credentials.pinned)
    except OSError as error:
        raise Trouble(
            "unreadable", f"cannot use the pinned certificate: {_words(error)}", hint="pair again"
        ) from error
    return context


class TlsStream(Stream):
    """A Stream that speaks only to the holder of the pinned certificate. What is sent before both
    ends have proven who they are waits; how long that may take is the caller's business.

    OpenSSL works in memory: a wake-up costs one read of the socket, however many records came.
    """

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        on_data: Callable[[bytes], None],
        on_close: Callable[[str], None],
        context: ssl.SSLContext,
        credentials: Credentials,
        names: tuple[str, str],
    ) -> None:
        self.credentials = credentials
        self.key_max_bytes = KEY_MAX_BYTES
        self._names = names
        self._proven = False
        self._heard = False  # anything, from whom we know
        self._presented: bytes | None = None
        self._early: list[bytes] = []  # until then
        self._encrypted_bytes = 0
        self._buffer, self._plain = (
            bytearray(_RECORD_MAX_BYTES),
            bytearray(),
        )  # enough for strangers
        self._context = context
        on_certificate(context, self._shows)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.protocol is ssl.PROTOCOL_TLS_SERVER
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        super().__init__(sock, poller, on_data, on_close)
        self._handshake()

    def send(self, data: bytes) -> None:
        """Queue it. A queue that is full, or a broken socket, ends the stream soon after."""
        if self.closed or self._failed is not None:
            return
        if not self._proven:
            self.queued_bytes += len(data)
            self._early.append(data)
            if self.queued_bytes > QUEUE_MAX_BYTES:
                self._fail(f"cannot follow: {self.queued_bytes} bytes are waiting for it")
            return
        self._tls.write(data)
        self._encrypted_bytes += len(data)
        super().send(self._outgoing.read())
        if self._encrypted_bytes > self.key_max_bytes:
            count = self._encrypted_bytes
            self._fail(f"{count} bytes went out under one key: a fresh stream follows")

    def _read(self) -> None:
        """What is there, up to ROUND_BYTES."""
        try:
            count = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(error)
            return
        if not count:
            self._ended()
            return
        self.received_bytes += count
        self._incoming.write(memoryview(self._buffer)[:count])
        if not self._proven:
            self._handshake()
        if self._proven:
            self._decrypt()
        self._speak()

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._speak()
        except OSError as error:
            self._broken(error)
        else:
            self._speak()
            on_certificate(self._context, None)
            if self._tls.getpeercert(binary_form=True) != self.credentials.pinned:
                self._end(wrong_certificate(self._names[1], self.credentials, self._presented))
                return
            self._proven = True
            self._buffer, self._plain = (
                bytearray(ROUND_BYTES),
                bytearray(ROUND_BYTES + _RECORD_MAX_BYTES),
            )
            early, self._early = self._early, []
            self.queued_bytes -= sum(map(len, early))
            for data in early:
                self.send(data)

    def _decrypt(self) -> None:
        filled, room = 0, memoryview(self._plain)
        try:
            while self._incoming.pending or self._tls.pending():
                # Into a buffer: it tells the length, whatever typeshed says.
                count = int(self._tls.read(len(room), room[filled:]))
                if not count:
                    self._ended()
                    break
                self._heard = True
                filled += count
        except ssl.SSLWantReadError:  # the rest of a record is still to come
            pass
        except OSError as error:
            self._broken(error)
        if filled:
            self._on_data(bytes(room[:filled]))

    def _speak(self) -> None:
        """Send what OpenSSL itself has to say: handshakes, alerts."""
        if self._outgoing.pending:
            super().send(self._outgoing.read())

    def _broken(self, error: OSError) -> None:
        """OpenSSL or the kernel ended it: say why in words that help."""
        self._speak()
        if self._heard and (not isinstance(error, ssl.SSLError) or isinstance(error, _END)):
            self._failed = f"receive: {_words(error)}"
        else:
            self._end(explained(error, self._names, self.credentials, self._presented))

    def _ended(self) -> None:
        """The peer closed it: at once, if it did not want us."""
        if self._heard:
            self._failed = "closed by the peer"
        else:
            self._end(_hung_up("closed", self._names[0]))

    def _end(self, trouble: Trouble) -> None:
        self.cause = trouble.cause
        self._failed = str(trouble)

    def _shows(self, certificate: bytes) -> None:
        self._presented = certificate


def explained(
    error: OSError, names: tuple[str, str], credentials: Credentials, presented: bytes | None
) -> Trouble:
    """Why TLS failed between us and a peer (`names`), in words that help. `presented` is the
    certificate that it showed, if it came to that."""
    node, peer = names
    reason = getattr(error, "reason", None)
    if reason == "CERTIFICATE_VERIFY_FAILED":
        return wrong_certificate(peer, credentials, presented)
    if reason == "SSLV3_ALERT_CERTIFICATE_EXPIRED":
        return Trouble(
            "refused_by_peer",
            f"it says that our certificate ({shown(credentials.own)}) has expired",
            hint="an older carpool minds that: upgrade it, or remove the identity of "
            f"{node} here (`carpool check` names the file): a new one, which does not expire, is "
            f"made when {node} is paired again, with --replace",
        )
    if reason in _REFUSALS:
        return Trouble(
            "refused_by_peer",
            f"it refuses our certificate ({shown(credentials.own)})",
            hint=f"it has none or another one pinned for {node}: `carpool peers` there shows it; "
            "pair again, with --replace",
        )
    if isinstance(reason, str) and reason in _KNOWN:
        cause, message, hint = _KNOWN[reason]
        return Trouble(cause, message, hint=hint)
    if isinstance(error, ssl.SSLError) and not isinstance(error, _END):
        return _altered(_words(error))
    return _hung_up(_words(error), node)


def wrong_certificate(peer: str, credentials: Credentials, presented: bytes | None) -> Trouble:
    """Who is there has another key than the one that is pinned for the peer."""
    theirs = f"another certificate ({shown(presented)})" if presented else "another"
    return Trouble(
        "wrong_certificate",
        f"it shows {theirs} than {shown(credentials.pinned)}, which is pinned for {peer}",
        hint=f"that is not {peer}, or {peer} has a new identity, which `carpool peers` there "
        "shows: then pair again, with --replace",
    )


_END = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
_REFUSALS = {  # alerts about our certificate, RFC 8446 6.2
    "TLSV1_ALERT_UNKNOWN_CA",
    "TLSV1_ALERT_ACCESS_DENIED",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
}
_NOT_TLS = (
    "not_tls",
    "what it says is no TLS",
    'is it carpool, and with encryption = "tls" in its group.toml as here?',
)
_OLD_TLS = ("old_tls", "it does not speak TLS 1.3", "is that carpool?")
_KNOWN = {  # OpenSSL's reason: cause, words, what to do
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "HTTPS_PROXY_REQUEST": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_TLS,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "no_certificate",
        "it shows no certificate",
        "that is no carpool that has been paired: who is at its address?",
    ),
}


def _altered(why: str) -> Trouble:
    return Trouble(
        "altered",
        f"bytes were altered, replayed or lost on the way ({why})",
        hint="something between the nodes changes them: a broken device, or somebody",
    )


def _hung_up(why: str, node: str) -> Trouble:
    return Trouble(
        "hung_up",
        f"it hung up in the TLS handshake ({why})",
        hint=f"is it paired with {node}? `carpool check` there tells",
    )


def _words(error: OSError) -> str:
    """What went wrong, without the place in OpenSSL's source."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return reason.lower().replace("_", " ")
    return error.strerror or str(error)


def on_certificate(context: ssl.SSLContext, tell: Callable[[bytes], None] | None) -> None:
    """Call `tell` with the certificate (DER) that the other end shows, before it is judged: Python
    has no other way to learn which one was refused. Where even that is missing, nobody is told."""

    def saw(*message: object) -> None:
        _connection, direction, _version, _content, kind, data = message
        if direction == "read" and kind == _CERTIFICATE_MESSAGE and isinstance(data, bytes):
            certificate = _first_certificate(data)
            if certificate and tell is not None:
                tell(certificate)

    if hasattr(context, "_msg_callback"):
        context._msg_callback = saw if tell is not None else None


def _first_certificate(message: bytes) -> bytes:
    """RFC 8446 4.4.2: type (1), length (3), context (1 and more), list (3), length (3), DER."""
    at = 5 + message[4] + 3 if len(message) > 4 else 0
    length = int.from_bytes(message[at : at + 3], "big")
    return message[at + 3 : at + 3 + length]
