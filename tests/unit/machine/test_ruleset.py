"""What stays of a ruleset: the statements that clear a table (their effect: tests/netns)."""

from __future__ import annotations

from carpool.machine.ruleset import clearings
from carpool.proto.nftlisting import Ruleset, parse

FILTER = ("inet", "filter")
SET = "\tset {} {{\n\t\ttype ipv4_addr\n\t\tflags {}\n{}\t}}\n"
CHAIN = "\tchain input {\n\t\taccept\n\t}\n"


def table(*blocks: str, name: str = "inet filter") -> Ruleset:
    return parse(f"table {name} {{\n" + "".join(blocks) + "}\n")


def dynamic(*elements: str, flags: str = "dynamic,timeout", name: str = "bans") -> str:
    listed = f"\t\telements = {{ {', '.join(elements)} }}\n" if elements else ""
    return SET.format(name, flags, listed)


def test_tables_that_no_file_defines_belong_to_others() -> None:
    live = {**table(CHAIN), **table(name="ip docker"), **table(name="ip old")}
    found = clearings(live, [table(CHAIN), table(name="ip old")], table(CHAIN))
    assert set(found) == {FILTER, ("ip", "old")}
    assert found[FILTER].statements == "delete table inet filter; "
    assert not found[FILTER].leaves
    assert clearings(table(CHAIN), [], {}) == {}


def test_a_set_that_is_declared_as_before_stays_and_all_else_goes() -> None:
    quota = "\tquota q {\n\t\tover 1 mbytes used 9 bytes\n\t}\n"
    counter = "\tcounter gone {\n\t\tpackets 1 bytes 1\n\t}\n"
    vmap = (
        "\tmap v {\n\t\ttype inet_service : verdict\n\t\tflags timeout\n"
        "\t\telements = { 22 : jump input }\n\t}\n"
    )
    live = table(counter, quota, CHAIN, dynamic("1.2.3.4 expires 5s"), vmap)
    one = clearings(live, [], table(quota.replace("9 bytes", "0 bytes"), CHAIN, dynamic(), vmap))
    assert one[FILTER].statements == (
        "flush table inet filter; delete map inet filter v; delete chain inet filter input; "
        "delete counter inet filter gone; "
    )
    assert one[FILTER].leaves
    assert one[FILTER].after == one[FILTER].told == ()


def test_elements_that_the_file_names_are_its_own() -> None:
    live = table(dynamic("1.1.1.1", "2.2.2.2 timeout 1h expires 9s", "3.3.3.3", "4.4.4.4"))
    before = table(dynamic("1.1.1.1", "2.2.2.2 timeout 1h expires 1h", "5.5.5.5"))
    new = table(dynamic("2.2.2.2 timeout 1h expires 1h", "3.3.3.3", "5.5.5.5"))
    (one,) = clearings(live, [before], new).values()
    # 1 was taken out of the file, 3 came into it; 2 is as it was, 5 is not there, 4 was added.
    assert one.statements == (
        "flush table inet filter; delete element inet filter bans { 1.1.1.1, 3.3.3.3 }; "
    )
    # Both may be loaded, after a kill: what only one of them names is deleted as well.
    (one,) = clearings(live, [before, new], new).values()
    assert "{ 1.1.1.1, 3.3.3.3 }" in one.statements


def test_elements_are_put_back_with_the_time_that_they_had() -> None:
    old = dynamic("1.1.1.1 expires 9s", "2.2.2.2 timeout 2h expires 1h", "3.3.3.3")
    old = old.replace("\t\telements", "\t\ttimeout 10m\n\t\telements")
    new = dynamic().replace("\t}", "\t\ttimeout 1m\n\t}")
    (one,) = clearings(table(old), [], table(new)).values()
    assert not one.leaves
    assert one.after == (
        "add element inet filter bans { 1.1.1.1 timeout 10m expires 9s, "
        "2.2.2.2 timeout 2h expires 1h, 3.3.3.3 }",
    )
    assert one.told == (
        "set inet filter bans: was `timeout 10m`, is `timeout 1m`; its 3 elements were put back",
    )


def test_what_does_not_fit_any_more_is_told() -> None:
    live = table(dynamic("1.1.1.1", name="a"), dynamic("2.2.2.2", name="b"), dynamic(name="c"))
    (one,) = clearings(live, [], table(dynamic(flags="timeout", name="b"))).values()
    assert one.after == ()
    assert one.told == (
        "set inet filter a: is not in the file any more; 1 element is gone",
        "set inet filter b: was `flags dynamic,timeout`, is `flags timeout`; 1 element is gone",
    )


def test_intervals_stay_only_beside_the_same_ones() -> None:
    flags = "interval,timeout"
    live = table(dynamic("10.0.0.0/8", "192.0.2.0/24 expires 1h", flags=flags))
    same, other = (table(dynamic(net, flags=flags)) for net in ("10.0.0.0/8", "192.0.0.0/16"))
    (one,) = clearings(live, [same], same).values()
    assert one.statements == "flush table inet filter; "
    (one,) = clearings(live, [same], other).values()
    assert one.statements == "delete table inet filter; "
    assert one.after == ()
    assert "1 element is gone" in one.told[0]


def test_nothing_need_stay() -> None:
    live = table(dynamic("1.1.1.1", "2.2.2.2"), CHAIN)
    (one,) = clearings(live, [], live, keep=False).values()
    assert (one.statements, one.leaves, one.told) == ("delete table inet filter; ", False, ())
    (one,) = clearings(live, [], table(dynamic("1.1.1.1")), keep=False).values()
    assert one.told == ("set inet filter bans: 1 element is gone",)
