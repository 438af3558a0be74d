"""Pairing two nodes: one waits with a one-time code, the other comes with it, both pin.

Room: api. The sockets, the time limits and the files of `carpool init` and `carpool join`; refuses
to decide who may be paired (`machine/pairing.py`).
"""

from __future__ import annotations

import hashlib
import secrets
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from carpool.api import identity
from carpool.errors import CarpoolError, ConfigError, PeerError
from carpool.kernel.clock import monotonic_s
from carpool.kernel.keys import Keys, shown
from carpool.kernel.stream import BACKLOG, socket_at
from carpool.kernel.tls import bare
from carpool.machine import pairing as machine
from carpool.machine.filetext import node_toml
from carpool.machine.pairing import Initiator, Joiner, Me, Partner
from carpool.model.config import Address, Config
from carpool.model.finding import GROUP_FILE
from carpool.proto import pairing as pr
from carpool.proto.ownrules import pairing_port
from carpool.proto.paircode import FINGERPRINT_BYTES, SECRET_BITS, Code

CONVERSATION_MAX_S = 5.0  # with one who has connected: others wait meanwhile
TOLD_MAX = 20
CONNECT_MAX_S = 15.0  # the initiator may be talking with two others

_Message = TypeVar("_Message", bound=pr.Message)
_Other = TypeVar("_Other", bound=pr.Message)


def port_of(config: Config) -> int:
    """Where pairing happens: the port after that of the states."""
    return pairing_port(config)


def own_addresses(config: Config) -> list[Address]:
    """This node's addresses on links that it shares with a peer, that of the states first."""
    node, states = config.node, config.group.states
    shared = [name for name in node.addresses if any(name in p.addresses for p in node.peers)]
    if states is not None:
        shared.sort(key=lambda name: name != states.interface)
    found = [address for name in shared for address in node.addresses[name]]
    if not found:
        raise ConfigError(
            f"node.toml names no address of {node.name} on a link with a peer",
            hint="write [address] and [peer.NAME.address] with the same logical interface",
        )
    return [address for address in found if not address.is_link_local] or found


def me_of(config: Config, keys: Keys, *, replace: bool) -> Me:
    """What pairing needs to know of this node. Raises CarpoolError for an unusable identity."""
    return Me(
        node=config.node.name,
        group=config.group.name,
        certificate=identity.verified(keys),
        peers=frozenset(peer.name for peer in config.node.peers),
        pinned={name: keys.pinned(name) for name in keys.names()},
        replace=replace,
    )


class Initiation:
    """One `carpool init`: the code, and the wait for whoever has it. Close it at the end.

    Raises CarpoolError when this node has no usable identity, or an address cannot be used.
    """

    def __init__(
        self,
        config: Config,
        keys: Keys,
        *,
        port: int,
        replace: bool,
        tell: Callable[[str], None],
        shown: pr.Shown | None = None,
    ) -> None:
        """`shown`: the files, for who knows the code and has none yet."""
        me = me_of(config, keys, replace=replace)
        secret = secrets.randbits(SECRET_BITS)
        fingerprint = hashlib.sha256(me.certificate).digest()
        self.code = Code(fingerprint[:FINGERPRINT_BYTES], secret)
        self.addresses = own_addresses(config)
        self._allowed = {
            address for p in config.node.peers for here in p.addresses.values() for address in here
        }
        self._keys = keys
        self._shown = shown
        self._tell_all = tell
        self._told: set[str] = set()
        self._initiator = Initiator(me, secret)
        self._context = bare(keys.identity_path, server=True)
        self._listeners: list[socket.socket] = []
        for address in self.addresses:
            self._listeners.append(socket_at(address, port))
            self._listeners[-1].listen(BACKLOG)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()

    def wait(self, timeout_s: float) -> Partner:
        """Until somebody with the code is pinned here and has pinned this node.

        Raises CarpoolError when the time is over, or the guesses are used up.
        """
        until_s = monotonic_s() + timeout_s
        again = "run `carpool init` again for another one"
        while not self._initiator.over:
            left_s = until_s - monotonic_s()
            if left_s <= 0:
                raise CarpoolError(
                    f"nobody joined in {timeout_s:.0f} s: the code is void", hint=again
                )
            for listener in select.select(self._listeners, [], [], left_s)[0]:
                partner = self._accept(listener)
                if partner is not None:
                    return partner
        raise CarpoolError(
            f"{self._initiator.wrong_guesses} wrong codes were tried: this one is void",
            hint=f"who was it? {again}",
        )

    def _tell(self, text: str) -> None:
        """Once each, and no more than a person reads: a stranger may come again and again."""
        if text not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(text)
            self._tell_all(text)

    def _accept(self, listener: socket.socket) -> Partner | None:
        try:
            sock, name = listener.accept()
        except OSError:  # gone again
            return None
        source = name[0].partition("%")[0]
        with sock:
            if ip_address(source) not in self._allowed:
                self._tell(f"refused {source}: it is no address of a peer in node.toml")
                return None
            try:
                with _Conversation(sock, self._context, server=True) as talk:
                    return self._pair(talk)
            except PeerError as error:
                self._tell(f"{source} did not join: {error}")
                return None

    def _pair(self, talk: _Conversation) -> Partner | None:
        talk.say(self._initiator.hello())
        join = talk.hear_any(pr.Join, pr.Look)
        if isinstance(join, pr.Look):
            self._show(talk, join)
            return None
        try:
            answer = self._initiator.on_join(join, identity.name_in)
        except PeerError as error:
            raise talk.refused(pr.Refuse(error.message)) from error
        if isinstance(answer, pr.Refuse):
            raise talk.refused(answer)
        welcome, partner = answer
        talk.say(welcome)
        talk.hear(pr.Done)
        self._keys.pin(partner.node, partner.certificate)
        with suppress(PeerError):  # the joiner then says that it was not confirmed
            talk.say(pr.Done())
        return partner

    def _show(self, talk: _Conversation, look: pr.Look) -> None:
        """To who knows the code: what group this is."""
        refusal = self._initiator.on_look(look)
        if refusal is None and self._shown is None:
            refusal = pr.Refuse("its files are shown to nobody")
        if refusal is not None:
            raise talk.refused(refusal)
        assert self._shown is not None
        talk.say(self._shown)


def shown_to_joiners(config: Config, config_dir: Path) -> pr.Shown:
    """What who knows the code may see: group.toml as it is, of node.toml what concerns others.
    Raises ConfigError."""
    try:
        group = (config_dir / GROUP_FILE).read_bytes()
    except OSError as error:
        raise ConfigError(f"read {config_dir / GROUP_FILE}: {error.strerror}") from error
    return pr.Shown(node_toml(config.node).encode(), group)


def look(address: Address, code: Code, *, port: int, source: Address | None) -> pr.Shown:
    """The files of the node that waits at `address` and made the code; nothing is pinned, there
    or here. `source`: the address that it knows this node by. Raises PeerError when there is
    nobody, it is somebody else, or it refuses."""
    with (
        _connection(address, port, source) as sock,
        _Conversation(sock, bare(None, server=False), server=False) as talk,
    ):
        theirs = _known_by(code, talk, address)
        hello = talk.hear(pr.Hello)
        asked = machine.look(hello, theirs, identity.name_in(theirs), code.secret)
        if isinstance(asked, pr.Refuse):
            raise talk.refused(asked)
        talk.say(asked)
        return talk.hear(pr.Shown)


def join(
    config: Config, keys: Keys, address: Address, code: Code, *, port: int, replace: bool
) -> Partner:
    """Pair with the node that waits at `address`: `carpool join`.

    Raises PeerError when there is nobody, it is somebody else, or it refuses; CarpoolError when
    this node's own files do not allow it.
    """
    me = me_of(config, keys, replace=replace)
    with (
        _connected(config, address, port) as sock,
        _Conversation(sock, bare(None, server=False), server=False) as talk,
    ):
        theirs = _known_by(code, talk, address)
        joiner = Joiner(me, code.secret, theirs, identity.name_in(theirs))
        asked = joiner.on_hello(talk.hear(pr.Hello))
        if isinstance(asked, pr.Refuse):
            raise talk.refused(asked)
        talk.say(asked)
        partner = joiner.on_welcome(talk.hear(pr.Welcome))
        if isinstance(partner, pr.Refuse):
            raise talk.refused(partner)
        keys.pin(partner.node, partner.certificate)
        try:
            talk.say(pr.Done())
            talk.hear(pr.Done)
        except PeerError as error:
            raise PeerError(
                f"{partner.node} is pinned here, but did not confirm: {error.message}",
                hint=f"`carpool peers` on {partner.node} tells whether it has pinned {me.node}; "
                "if not, pair again",
            ) from error
    return partner


def _known_by(code: Code, talk: _Conversation, address: Address) -> bytes:
    """The certificate of the other end, which fits the code. Raises PeerError for any other."""
    theirs = talk.certificate
    if not code.is_of(hashlib.sha256(theirs).digest()):
        raise PeerError(
            f"the node at {address} is not the one that made this code: it shows {shown(theirs)}",
            hint="is the address right, and the code of the last `carpool init` there? "
            "nothing was sent",
        )
    return theirs


def _connected(config: Config, address: Address, port: int) -> socket.socket:
    """A connection from the address that the other node knows this one by, if that can be told."""
    node = config.node
    links = [name for p in node.peers for name, here in p.addresses.items() if address in here]
    sources = [
        own
        for name in links
        for own in node.addresses.get(name, ())
        if own.version == address.version
    ]
    return _connection(address, port, sources[0] if sources else None)


def _connection(address: Address, port: int, source: Address | None = None) -> socket.socket:
    try:
        if source is None:
            return socket.create_connection((str(address), port), CONNECT_MAX_S)
        sock = socket_at(source, 0)
        try:
            sock.settimeout(CONNECT_MAX_S)
            sock.connect((str(address), port))
        except BaseException:
            sock.close()
            raise
        return sock
    except TimeoutError as error:
        raise PeerError(
            f"no answer from {address} port {port} in {CONNECT_MAX_S:.0f} s",
            hint=f"does the ruleset there let TCP port {port} in from this node?",
        ) from error
    except OSError as error:
        raise PeerError(
            f"nobody waits at {address} port {port}: {error.strerror or error}",
            hint="is `carpool init` running there? its code is good for ten minutes",
        ) from error


class _Conversation:
    """Messages over TLS with one who has connected, all within CONVERSATION_MAX_S."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server: bool) -> None:
        limit_s = CONVERSATION_MAX_S if server else CONNECT_MAX_S
        self._until_s = monotonic_s() + limit_s
        sock.settimeout(limit_s)
        try:
            self._tls = context.wrap_socket(sock, server_side=server)
        except OSError as error:
            raise PeerError(
                f"no TLS with it: {_words(error)}",
                hint=""
                if server
                else "does node.toml there name this node's address, and does `carpool init` run?",
            ) from error

    def __enter__(self) -> _Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._tls.close()

    @property
    def certificate(self) -> bytes:
        """Of the other end (DER); it has proven to hold its key."""
        return self._tls.getpeercert(binary_form=True) or b""

    def say(self, message: pr.Message) -> None:
        try:
            self._tls.settimeout(self._left_s())
            self._tls.sendall(pr.build(message))
        except OSError as error:
            raise PeerError(f"it hung up: {_words(error)}") from error

    def refused(self, refusal: pr.Refuse) -> PeerError:
        """Tell the other end, and give the error for this one."""
        self.say(refusal)
        return PeerError(refusal.reason)

    def hear(self, kind: type[_Message]) -> _Message:
        """The next message, which must be of this kind. Raises PeerError for any other."""
        return self.hear_any(kind, kind)

    def hear_any(self, kind: type[_Message], other: type[_Other]) -> _Message | _Other:
        """The same, of one of two kinds."""
        length = pr.LENGTH.unpack(self._read(pr.LENGTH.size))[0]
        if length > pr.max_bytes(kind):
            raise PeerError(f"it sent a message of {length} bytes: that is no carpool")
        message = pr.parse(self._read(length))
        if isinstance(message, kind | other):
            return message
        if isinstance(message, pr.Refuse):
            raise PeerError(f"it refuses: {message.reason}")
        if isinstance(message, pr.Broken):
            raise PeerError(f"{message.reason}: that is no carpool")
        raise PeerError(f"it said {type(message).__name__}, expected {kind.__name__}")

    def _read(self, count: int) -> bytes:
        data = b""
        try:
            while len(data) < count:
                self._tls.settimeout(self._left_s())
                piece = self._tls.recv(count - len(data))
                if not piece:
                    raise PeerError("it hung up")
                data += piece
        except OSError as error:
            raise PeerError(f"it fell silent: {_words(error)}") from error
        return data

    def _left_s(self) -> float:
        left_s = self._until_s - monotonic_s()
        if left_s <= 0:
            raise TimeoutError("no answer in time")
        return left_s


def _words(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return reason.lower().replace("_", " ")
    return error.strerror or str(error)
