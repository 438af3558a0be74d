"""What is read of `nft -j list ruleset`, and that nothing that it prints is a surprise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto.nftjson import parse

LISTING = {
    "nftables": [
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "inet", "name": "filter", "handle": 1}},
        {
            "flowtable": {
                "family": "inet",
                "name": "fast",
                "table": "filter",
                "hook": "ingress",
                "prio": 0,
                "dev": ["lan0", "wan0"],
            }
        },
        {
            "chain": {
                "family": "inet",
                "table": "filter",
                "name": "late",
                "type": "filter",
                "hook": "input",
                "prio": 10,
                "policy": "drop",
            }
        },
        {
            "chain": {
                "family": "inet",
                "table": "filter",
                "name": "early",
                "type": "filter",
                "hook": "input",
                "prio": -10,
                "policy": "accept",
            }
        },
        {"chain": {"family": "inet", "table": "filter", "name": "plain"}},
        {"rule": {"family": "inet", "table": "filter", "chain": "late", "handle": 7, "expr": [
            {"counter": {"packets": 0, "bytes": 0}}, {"accept": None}]}},
        {"chain": {"family": "netdev", "table": "x", "name": "e", "type": "filter",
                   "hook": "egress", "prio": 0, "policy": "accept", "dev": "lan0"}},
    ]
}  # fmt: skip


def test_chains_in_the_order_of_packets() -> None:
    found = parse(json.dumps(LISTING))
    assert found is not None
    first, second = found.hooked("input", ("inet", "ip"), "filter")
    assert (first.name, second.name) == ("early", "late")
    assert (second.policy, second.place) == ("drop", "chain late, table inet filter")
    assert second.rules[0].place == "rule 7 of chain late, table inet filter"
    assert second.rules[0].expressions[-1] == {"accept": None}
    assert found.hooked("input", ("ip",), "filter") == []
    assert found.hooked("egress", ("netdev",), "filter")[0].devices == ("lan0",)
    assert found.flowtables == ("inet filter fast",)
    assert found.chains["inet", "filter", "plain"].hook == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": 1}', "nft: no such command"])
def test_what_is_no_listing(text: str) -> None:
    assert parse(text) is None


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["rule", "chain", "expr", "dev", "prio"]), inner)
    ),
    max_leaves=12,
)


@given(st.lists(_VALUES, max_size=4))
def test_nothing_raises(items: list[object]) -> None:
    parse(json.dumps({"nftables": items}))
