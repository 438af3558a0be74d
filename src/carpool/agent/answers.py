"""What the agent answers, as the OpenAPI description shows it; what comes from a peer is checked
against these.

Room: agent. Values only: who makes them is in local.py and peer.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carpool.agent.waits import LISTEN_MAX_S
from carpool.errors import PeerError
from carpool.model.manifest import Entry, Kind

API = 1  # the /v1 of every path; of both ends of a connection
WAITS_MAX_S = 24 * 3600.0  # of a change, to be confirmed
NO_ROUTE = "nothing answers to"  # said with 404, by which a peer knows an older carpool
HAS_MAX = 65_536  # addresses, or files with kept lines: node.toml and group.toml hold less
INT_MAX = 2**31 - 1  # of the kernel's settings
API_HEADER = "carpool-api"  # in every answer, so that a peer knows whom it talks to

Short = Annotated[str, Field(max_length=256)]
Text = Annotated[str, Field(max_length=4096)]
Name = Annotated[str, Field(max_length=64)]
WORDS_MAX = 1000  # letters
Words = Annotated[str, Field(max_length=WORDS_MAX)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Answer(BaseModel):
    """Unknown keys are passed over: a newer peer may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Refusal(Answer):
    """Every answer that is no success, and the last line of a stream that failed."""

    error: str = Field(description="what went wrong, and where")
    hint: str = Field(default="", description="what to do next")


class PeerAbout(Answer):
    """What a node tells its peers about itself."""

    name: Short
    version: Short = Field(description="of carpool")
    api: int
    group: Short
    roles: dict[Short, Short] | None = Field(
        max_length=256, description="by VIP (`51@lan`): MASTER, BACKUP...; null: failover is down"
    )
    wall_time: Short = Field(description="RFC 3339, UTC")
    sync: Text | None = Field(default=None, description="the synchronisation under way, or null")


class PeerState(Answer):
    """A peer as this node sees it."""

    name: str
    address: str
    reachable: bool
    error: str | None = Field(default=None, description="why it is not")
    hint: str | None = None
    about: PeerAbout | None = None


class About(Answer):
    """What the agent tells programs of this machine about itself."""

    name: str
    version: str = Field(description="of carpool")
    api: int
    group: str
    pid: int
    uptime_s: float
    root: str = Field(description="what the agent takes for the root of the file system")
    listens: list[str] = Field(description="for peers: address and port")
    stuck: str | None = Field(
        default=None, description="why the last change is neither whole nor put back, or null"
    )
    refused: dict[str, int] = Field(description="who was not let in, by cause, since the start")
    peers: list[PeerState]


class Status(Answer):
    """What `carpool status --json` prints of both processes; of one that does not answer, `error`
    and `hint`."""

    failover: dict[str, object]
    states: dict[str, object] | None = Field(description="null: not configured")


class NodeState(Answer):
    """All that a node's status page shows of it."""

    name: Short
    version: Short = Field(description="of carpool")
    kernel: Short
    system: Short = Field(description="PRETTY_NAME of os-release(5)")
    uptime_s: float = Field(ge=0, description="of the machine")
    wall_time: Short = Field(description="RFC 3339, UTC")
    failover: dict[str, object] = Field(description="what `carpool status --json` prints of it")
    states: dict[str, object] | None = Field(description="null: not configured")
    troubles: list[dict[str, object]] = Field(max_length=1000)
    alert_targets: int | None = Field(
        default=None, ge=0, le=1000, description="how many it tells of a failover; null: not known"
    )
    checks: list[dict[str, object]] = Field(
        default_factory=list, max_length=1000, description="as `GET /v1/checks` tells them"
    )
    schedule: dict[str, object] | None = Field(
        default=None, description="as `GET /v1/schedule` tells it; null: without one"
    )

    @classmethod
    def unknown(cls, name: str) -> dict[str, object]:
        """Of a node that never answered."""
        empty = cls(
            name=name,
            version="",
            kernel="",
            system="",
            uptime_s=0,
            wall_time="",
            failover={},
            states=None,
            troubles=[],
        )
        return empty.model_dump()


# ------------------------------------------------------------------------------ configuration


class Strict(BaseModel):
    """What is asked or offered: nothing unknown is passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EntryBody(Strict):
    """`model.manifest.Entry`."""

    path: Text
    kind: Kind
    mode: Annotated[int, Field(ge=0, le=0o7777)] = 0
    owner: Name = ""
    group: Name = ""
    size: Annotated[int, Field(ge=0)] = 0
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    target: Text = ""

    def entry(self) -> Entry:
        return Entry(**self.model_dump())


class SectionBody(Answer):
    """What a node has of a section, and on which devices."""

    entries: list[EntryBody]
    devices: dict[Name, Name] = Field(max_length=256, description="by logical interface")


class Has(Answer):
    """What a node has of what files from another one may name."""

    addresses: list[IPv4Address | IPv6Address] = Field(max_length=HAS_MAX)
    devices: list[Name] = Field(max_length=256, description="of those that the other one named")
    kept: dict[Text, Sha256] = Field(
        default_factory=dict,
        max_length=HAS_MAX,
        description="by files of which it keeps lines: the digest of the rest",
    )


class OfferTaken(Answer):
    """Of an offer that a node took."""

    has: Has | None = None


class AgreedState(Answer):
    """`record.Agreed`."""

    source: Short
    live: Short
    peer: Short
    when: Short


class SectionState(Answer):
    """How a section stands on a peer."""

    live: Short | None = Field(default=None, description="null: its files cannot be looked at")
    why: Words = Field(default="", description="they cannot")
    agreed: AgreedState | None = None


class Waits(Answer):
    """A change of a node that waits to be confirmed there."""

    what: Words
    by: Words
    left_s: float = Field(ge=0, le=WAITS_MAX_S, description="until it is put back")


class Digests(Answer):
    """How all of them stand there."""

    waiting: Waits | None = None
    sections: dict[Short, SectionState] = Field(max_length=1000)


class GroupStand(Answer):
    """The group.toml that the processes of a node go by."""

    digest: Short = Field(description="SHA-256 of group.toml")
    changing: bool = Field(description="whether what was before counts, too")


# ------------------------------------------------------------------------------------- doctor


class InterfaceBody(Answer):
    """`model.facts.InterfaceFacts`."""

    device: Name
    present: bool
    up: bool
    carrier: bool
    mtu: Annotated[int, Field(ge=0, le=INT_MAX)]
    addresses: list[IPv4Interface | IPv6Interface] = Field(max_length=1000)


class FactsBody(Answer):
    """What a node tells its peers' `carpool doctor`."""

    version: Name
    kernel: Short
    wall_s: float = Field(description="seconds since 1970, UTC", allow_inf_nan=False)
    conntrack_max: Annotated[int, Field(ge=0, le=INT_MAX)] | None
    conntrack_count: Annotated[int, Field(ge=0, le=INT_MAX)] | None
    interfaces: dict[Name, InterfaceBody] = Field(max_length=256)
    roles: dict[Short, Short] | None = Field(max_length=256)


class HeardOne(Answer):
    """`model.facts.Heard`."""

    interface: Name
    source: IPv4Address | IPv6Address
    mac: Name
    kind: Name
    vhid: Annotated[int, Field(ge=0, le=255)] = 0


class HeardBody(Answer):
    """Who speaks on the wires of a node's VIPs."""

    heard: list[HeardOne] = Field(max_length=1000)


class ListenBody(Strict):
    """For how long, and whose probes count."""

    seconds: Annotated[float, Field(gt=0, le=LISTEN_MAX_S)]
    nonce: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


_Kind = TypeVar("_Kind", bound=BaseModel)


def checked(kind: type[_Kind], answer: Mapping[str, object], peer: str) -> _Kind:
    """What a peer answered, as it should be. Raises PeerError."""
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:200]
        raise PeerError(
            f"{peer} answered what cannot be understood: {where}: {first['msg']}",
            hint="does it run the same version of carpool?",
        ) from error
