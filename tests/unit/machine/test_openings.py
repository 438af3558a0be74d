from __future__ import annotations

from carpool.machine.openings import openings
from carpool.proto.nftjson import Tables
from tests.unit.machine.rules import ACCEPT, chain, meta, payload, state, tables
from tests.unit.model.configs import config


def test_what_a_policy_drops_is_let_in_from_the_nodes_of_the_link() -> None:
    strict = tables(chain((state("established"), ACCEPT), policy="drop"))
    (found,) = openings(config(), strict)
    assert found.command == (
        'insert rule inet t input iifname "sync0" ip saddr { 10.10.3.1, 10.10.3.2 } '
        'tcp dport { 3782, 3783 } accept comment "carpool: nodes on sync"'
    )
    assert found.why == "the policy of chain input, table inet t"


def test_what_passes_or_may_pass_needs_nothing() -> None:
    assert list(openings(config(), Tables({}))) == []
    let_in = tables(chain((meta("iifname", "sync0"), ACCEPT), policy="drop"))
    assert list(openings(config(), let_in)) == []
    half = tables(chain((payload("tcp", "dport", 3782), ACCEPT), policy="drop"))
    assert len(list(openings(config(), half))) == 1, "pairing is dropped"
