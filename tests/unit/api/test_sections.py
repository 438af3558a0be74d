"""Presets and [section.NAME]: what becomes of them, and every mistake in them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from carpool.api.sections import PRESETS, is_installed, load_sections
from carpool.api.sectiontable import SECTION_KEYS
from carpool.model.config import Problem
from carpool.model.section import Keep, OnChange, RolePolicy, Section, Service
from tests.unit.api.files import GROUP, load_texts, write

ROOT = Path(__file__).parents[3]
WANTED = """
    nftables dnsmasq unbound bind9 isc-kea radvd haproxy nginx caddy wireguard strongswan openvpn
    frr bird keepalived chrony openssh-server sysctl hosts cron rsyslog users certificates
    freeradius squid suricata snmpd prometheus-node-exporter monit fail2ban
    avahi dhcp-helper isc-dhcp-relay ndppd ppp
""".split()

UNBOUND = """
description = "DNS resolver"
packages = ["unbound"]
installed = ["/usr/sbin/unbound"]
paths = ["/etc/unbound/"]
exclude = ["/etc/unbound/unbound_control.*"]
secret = ["/etc/unbound/*.key"]
check = ["unbound-checkconf"]
services = ["unbound"]
order = 30
"""


def sections_of(
    directory: Path, tables: str, sync: str = "", preset: str = UNBOUND
) -> tuple[dict[str, Section], list[Problem]]:
    """With one preset, `unbound`, and these tables at the end of group.toml."""
    (directory / "presets").mkdir(exist_ok=True)
    (directory / "presets" / "unbound.toml").write_text(preset)
    selected = f'[sync]\ninterface = "sync"\nsections = [{sync}]\n'
    write(directory, group=f"{GROUP}{selected}{tables}")
    return load_sections(directory, directory / "presets")


def told(directory: Path, tables: str, sync: str = "") -> list[str]:
    _, problems = sections_of(directory, tables, sync)
    assert all(problem.fatal for problem in problems)
    return [str(problem) for problem in problems]


# ----------------------------------------------------------------------------------- presets


@pytest.mark.parametrize("name", WANTED)
def test_each_service_has_its_preset(name: str, tmp_path: Path) -> None:
    sections, problems = load_sections(write(tmp_path))
    assert problems == []
    section = sections[name]
    assert section.description and section.paths
    assert "packages" in (PRESETS / f"{name}.toml").read_text()


def test_presets_are_those_that_are_documented() -> None:
    assert sorted(path.stem for path in PRESETS.iterdir()) == sorted(WANTED)
    text = (ROOT / "docs" / "sections.md").read_text()
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M) == sorted([*WANTED, "carpool"])


def test_all_presets_together_share_no_path(tmp_path: Path) -> None:
    names = ", ".join(f'"{name}"' for name in [*WANTED, "carpool"])
    write(tmp_path, group=f'{GROUP}[sync]\ninterface = "sync"\nsections = [{names}]\n')
    sections, problems = load_sections(tmp_path)
    assert problems == []
    assert sections.keys() == {*WANTED, "carpool"}


def test_what_is_a_nodes_own_is_in_no_preset(tmp_path: Path) -> None:
    sections, _ = load_sections(write(tmp_path))
    masters = {one.name for one in sections.values() if one.role is RolePolicy.MASTER}
    relays = {"avahi", "dhcp-helper", "isc-dhcp-relay", "ndppd"}
    assert masters == {"radvd", "wireguard", "strongswan", "openvpn", "ppp", *relays}
    assert "/etc/ssh/ssh_host_*" in sections["openssh-server"].exclude
    assert "/etc/bind/rndc.key" in sections["bind9"].exclude
    assert "/etc/wireguard/*" in sections["wireguard"].secret
    assert "/etc/shadow" in sections["users"].secret


def test_firewall_rules_are_loaded_by_carpool(tmp_path: Path) -> None:
    sections, _ = load_sections(write(tmp_path))
    (service,) = sections["nftables"].services
    assert service == Service("nftables", ruleset="/etc/nftables.conf")
    assert (service.deed, Service("x", OnChange.RESTART).deed) == ("load", "restart")
    write(tmp_path, group=f'{GROUP}[section.nftables]\nservices = ["nftables"]\n')
    sections, problems = load_sections(tmp_path)
    assert (problems, sections["nftables"].services[0].deed) == ([], "reload")


def test_a_preset_with_a_mistake_is_told_and_left_out(tmp_path: Path) -> None:
    sections, problems = sections_of(tmp_path, "", '"unbound"', preset="paths = [1]\n")
    assert sections.keys() == {"carpool"}
    (problem,) = problems
    assert (problem.file, problem.line) == (str(tmp_path / "presets" / "unbound.toml"), 1)
    assert problem.key == "paths[0]"


# ---------------------------------------------------------------------------- what they become


def test_a_preset_is_read(tmp_path: Path) -> None:
    sections, problems = sections_of(tmp_path, "")
    assert problems == []
    assert sections["unbound"] == Section(
        name="unbound",
        description="DNS resolver",
        installed=("/usr/sbin/unbound",),
        paths=("/etc/unbound/",),
        exclude=("/etc/unbound/unbound_control.*",),
        secret=("/etc/unbound/*.key",),
        check=("unbound-checkconf",),
        services=(Service("unbound"),),
        order=30,
    )


def test_group_toml_is_a_section_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    sections, _ = sections_of(tmp_path / "link", "")
    path = str(tmp_path.resolve() / "real" / "group.toml")
    own = sections["carpool"]
    assert (own.paths, own.secret, own.mode) == ((path,), (path,), 0o600)


def test_paths_are_those_below_a_root(tmp_path: Path) -> None:
    directory = tmp_path / "etc" / "own"
    directory.mkdir(parents=True)
    write(directory, group=f'{GROUP}[section.x]\npaths = ["/etc/own/node.toml"]\n')
    sections, problems = load_sections(directory, root=tmp_path)
    assert sections["carpool"].paths == ("/etc/own/group.toml",)
    assert [problem.key for problem in problems] == ["section.x.paths[0]"]


def test_keys_replace_and_lists_of_patterns_add(tmp_path: Path) -> None:
    sections, problems = sections_of(
        tmp_path,
        """
        [section.unbound]
        exclude = ["/etc/unbound/a"]
        nosync = ["/etc/unbound/b"]
        secret = ["*.pem"]
        keep = ["/etc/unbound/c", {file = "/etc/unbound/d", begin = "# own", end = "# end"}]
        check = ["true", "two words"]
        check_timeout = 600
        services = [{name = "unbound", on_change = "restart"}, "unbound-resolvconf"]
        """,
    )
    assert problems == []
    base, _ = sections_of(tmp_path, "")
    assert sections["unbound"] == replace(
        base["unbound"],
        exclude=("/etc/unbound/unbound_control.*", "/etc/unbound/a"),
        nosync=("/etc/unbound/b",),
        secret=("/etc/unbound/*.key", "*.pem"),
        keep=(Keep("/etc/unbound/c"), Keep("/etc/unbound/d", "# own", "# end")),
        check=("true", "two words"),
        check_timeout_s=600,
        services=(Service("unbound", OnChange.RESTART), Service("unbound-resolvconf")),
    )


def test_a_preset_can_be_emptied(tmp_path: Path) -> None:
    tables = '[section.unbound]\ncheck = []\nservices = []\npaths = ["/srv/dns"]\n'
    sections, problems = sections_of(tmp_path, tables)
    assert problems == []
    section = sections["unbound"]
    assert (section.check, section.services, section.paths) == ((), (), ("/srv/dns",))


def test_a_section_of_ones_own(tmp_path: Path) -> None:
    sections, problems = sections_of(
        tmp_path,
        """
        [section.my-app]
        paths = ["/etc/my-app/", "/etc/default/my-app"]
        template = true
        role = "master"
        owner = "root:_my-app"
        mode = "0640"
        order = 99
        services = [{name = "my-app@", files = "/etc/my-app/*.conf", on_change = "nothing"}]
        """,
        sync='"my-app", "unbound"',
    )
    assert problems == []
    assert sections["my-app"] == Section(
        name="my-app",
        paths=("/etc/my-app/", "/etc/default/my-app"),
        template=True,
        role=RolePolicy.MASTER,
        owner="root:_my-app",
        mode=0o640,
        order=99,
        services=(Service("my-app@", OnChange.NOTHING, "/etc/my-app/*.conf"),),
    )
    assert list(sections) == ["carpool", "my-app", "unbound"]


def test_services_take_their_role_from_the_section_or_from_their_own_table(tmp_path: Path) -> None:
    sections, problems = sections_of(
        tmp_path,
        """
        [section.my-vpn]
        paths = ["/etc/my-vpn/"]
        role = "master"
        follows = "52@wan"
        services = [
            {name = "vpn@office", role = "both"},
            {name = "vpn@", files = "/etc/my-vpn/*.conf", timeout = 5},
            {name = "ospfd", follows = "lan", on_master = ["cost", "%i", "10"], on_backup = [
                "cost", "%i", "99"
            ]},
        ]
        [section.dial]
        services = ["ppp@isp"]
        role = "master"
        """,
        sync='"my-vpn", "dial"',
    )
    assert problems == []
    vpn = sections["my-vpn"]
    office, each, ospf = map(vpn.placed, vpn.services)
    assert (office.role, office.follows) == (RolePolicy.BOTH, "52@wan")
    assert (each.role, each.follows, each.timeout_s) == (RolePolicy.MASTER, "52@wan", 5)
    assert (ospf.role, ospf.follows, ospf.switched) == (RolePolicy.BOTH, "lan", True)
    assert (ospf.on_master, ospf.on_backup) == (("cost", "%i", "10"), ("cost", "%i", "99"))
    dial = sections["dial"]
    assert (dial.paths, dial.services) == ((), (Service("ppp@isp"),))
    assert is_installed(dial, tmp_path)  # there is nothing that could be missing


def test_what_a_preset_runs_on_the_master_can_follow_a_vip(tmp_path: Path) -> None:
    preset = f'{UNBOUND}role = "master"\n'
    tables = '[section.unbound]\nfollows = "51@lan"\n'
    sections, problems = sections_of(tmp_path, tables, preset=preset)
    assert problems == []
    (service,) = map(sections["unbound"].placed, sections["unbound"].services)
    assert (service.role, service.follows) == (RolePolicy.MASTER, "51@lan")


def test_installed_is_what_is_there(tmp_path: Path) -> None:
    section = Section("x", ("/etc/x/",), installed=("/usr/sbin/x", "/usr/sbin/y"))
    (tmp_path / "etc" / "x").mkdir(parents=True)
    assert not is_installed(section, tmp_path)
    assert is_installed(Section("x", ("/etc/x/",)), tmp_path)
    (tmp_path / "usr" / "sbin").mkdir(parents=True)
    (tmp_path / "usr" / "sbin" / "y").touch()
    assert is_installed(section, tmp_path)


# ------------------------------------------------------------------------------------ mistakes

EACH = "the absolute path of a file, or with / at its end of a directory"
NAME = 'the name of a unit, without .service: "unbound"'
PATTERN = "a pattern of paths in this section"
NO_VIP = '"{}", which is no VIP of the group'
FOLLOWED = 'a VHID, "51@lan", or an interface of VIPs, "lan"'
COMMAND = 'a list of words: ["ip", "link", "set", "%i", "up"]'


@pytest.mark.parametrize(
    ("line", "key", "hint"),
    [
        ('run-on = "master"', "run-on", "it is called role"),
        ('services = [{name = "x", run_on = "master"}]', "services[0].run_on", "it is called role"),
        (
            'services = [{name = "x", on-master = ["a"]}]',
            "services[0].on-master",
            'did you mean "on_master"?',
        ),
    ],
)
def test_a_key_that_is_called_otherwise_here(
    line: str, key: str, hint: str, tmp_path: Path
) -> None:
    _, (problem,) = sections_of(tmp_path, f"[section.unbound]\n{line}\n", sync='"unbound"')
    assert (problem.key, problem.found) == (f"section.unbound.{key}", "an unknown key")
    assert problem.hint == hint


@pytest.mark.parametrize(
    ("line", "key", "found", "expected"),
    [
        ("path = []", "path", "an unknown key", f"one of {', '.join(SECTION_KEYS)}"),
        ("description = 1", "description", "a whole number, 1", 'a line: "DNS resolver"'),
        ('packages = "x"', "packages", 'the string "x"', "a list of Debian packages"),
        ('installed = ["x"]', "installed[0]", '"x", which is not absolute', "an absolute path"),
        ("paths = []", "paths", "an empty list", "at least one path"),
        (
            'paths = "/etc/x"',
            "paths",
            'the string "/etc/x"',
            'a list of paths: ["/etc/unbound/"]',
        ),
        ("paths = [1]", "paths[0]", "a whole number, 1", EACH),
        ('paths = ["/srv/a", "/"]', "paths[1]", '"/", which is everything', EACH),
        (
            'paths = ["/etc/"]',
            "paths[0]",
            '"/etc/", which has /etc/carpool in it',
            EACH,
        ),
        (
            'paths = ["/etc/carpool/x"]',
            "paths[0]",
            '"/etc/carpool/x", in /etc/carpool, where this node\'s own identity is',
            EACH,
        ),
        (
            'paths = ["/proc/x"]',
            "paths[0]",
            '"/proc/x", in /proc, which the kernel or the running system makes',
            EACH,
        ),
        ('exclude = ["x"]', "exclude[0]", '"x", which fits no absolute path', PATTERN),
        (
            'nosync = ["/etc/unbuond/x"]',
            "nosync[0]",
            '"/etc/unbuond/x", which is not in this section',
            PATTERN,
        ),
        (
            'secret = ["/srv/*"]',
            "secret[0]",
            '"/srv/*", which fits nothing in this section',
            PATTERN,
        ),
        (
            'keep = ["/srv/x"]',
            "keep[0]",
            '"/srv/x", which is not in this section',
            "one file of this section, as it is written there",
        ),
        (
            'keep = ["/etc/unbound/x/"]',
            "keep[0]",
            '"/etc/unbound/x/", which is not one file',
            "one file of this section, as it is written there",
        ),
        (
            'keep = ["/etc/unbound/*.key"]',
            "keep[0]",
            '"/etc/unbound/*.key", which is not one file',
            "one file of this section, as it is written there",
        ),
        ("keep = [1]", "keep[0]", "a whole number, 1", "a file, or a table of file, begin and end"),
        (
            'keep = [{file = "/etc/unbound/x", begin = "a"}]',
            "keep[0].end",
            "nothing",
            "a text of the line where it ends",
        ),
        (
            'keep = [{file = "/etc/unbound/x", begin = " ", end = "b"}]',
            "keep[0].begin",
            '" "',
            "a text that one line has in it",
        ),
        (
            'keep = [{file = "/etc/unbound/x", begin = "a", end = "b\\nc"}]',
            "keep[0].end",
            '"b\\nc"',
            "a text that one line has in it",
        ),
        ('template = "yes"', "template", 'the string "yes"', "true or false"),
        ('check = "x"', "check", 'the string "x"', 'a list of words: ["unbound-checkconf"]'),
        ('check = [""]', "check[0]", '""', "a program"),
        ('check = ["a\\u0000"]', "check[0]", '"a\\u0000", which has a NUL in it', "a word"),
        ("check_timeout = 0", "check_timeout", "0", "a number from 1 to 600"),
        ("check_timeout = 601", "check_timeout", "601", "a number from 1 to 600"),
        (
            "services = [1]",
            "services[0]",
            "a whole number, 1",
            "a name, or a table of name and on_change",
        ),
        (
            'services = ["unbound.service"]',
            "services[0]",
            '"unbound.service", which ends with .service',
            NAME,
        ),
        ('services = ["a/b"]', "services[0]", '"a/b", which is no name of a unit', NAME),
        ('services = ["-a"]', "services[0]", '"-a", which is no name of a unit', NAME),
        (
            'services = ["x@"]',
            "services[0]",
            '"x@", which has instances, but no `files` to name them',
            NAME,
        ),
        (
            'services = [{name = "x", files = "/etc/x/*"}]',
            "services[0].name",
            '"x", which does not end with @ but has `files`',
            NAME,
        ),
        (
            'services = [{name = "x@", files = "/etc/*/x"}]',
            "services[0].files",
            '"/etc/*/x"',
            'a pattern of paths: "/etc/wireguard/*.conf"',
        ),
        (
            'services = [{name = "x", ruleset = "/etc/x.nft"}]',
            "services[0].ruleset",
            '"/etc/x.nft", which is not in this section',
            "an nftables file of this section",
        ),
        (
            'services = [{name = "x", ruleset = "/etc/unbound/"}]',
            "services[0].ruleset",
            '"/etc/unbound/", which is not one file',
            "an nftables file of this section",
        ),
        (
            'services = [{name = "x@", files = "/etc/x/*", ruleset = "/etc/unbound/x"}]',
            "services[0].ruleset",
            '"/etc/unbound/x", of a service with instances',
            "an nftables file of this section",
        ),
        (
            'services = [{name = "x", on_change = "start"}]',
            "services[0].on_change",
            'the string "start"',
            '"reload" or "restart" or "nothing"',
        ),
        (
            'follows = "51@lan"',
            "follows",
            "it for services that run on every node",
            'it beside role = "master", or beside on_master and on_backup',
        ),
        (
            'services = [{name = "x", follows = "lan"}]',
            "services[0].follows",
            "it for services that run on every node",
            'it beside role = "master", or beside on_master and on_backup',
        ),
        ('role = "master"\nfollows = "53@lan"', "follows", NO_VIP.format("53@lan"), FOLLOWED),
        ('role = "master"\nfollows = "LAN"', "follows", '"LAN"', FOLLOWED),
        (
            'services = [{name = "x", role = "master", follows = "sync"}]',
            "services[0].follows",
            NO_VIP.format("sync"),
            FOLLOWED,
        ),
        (
            'services = [{name = "x", role = "backup"}]',
            "services[0].role",
            'the string "backup"',
            '"both" or "master"',
        ),
        (
            'services = [{name = "x", on_master = ["a"]}]',
            "services[0].on_backup",
            "nothing",
            "a command as well, as there is on_master",
        ),
        (
            'services = [{name = "x", on_backup = ["a"]}]',
            "services[0].on_master",
            "nothing",
            "a command as well, as there is on_backup",
        ),
        (
            'services = [{name = "x", on_master = [], on_backup = ["a"]}]',
            "services[0].on_master",
            "no program",
            COMMAND,
        ),
        (
            'services = [{name = "x", on_master = ["a"], on_backup = "b"}]',
            "services[0].on_backup",
            'the string "b"',
            COMMAND,
        ),
        (
            'services = [{name = "x", role = "master", on_master = ["a"], on_backup = ["b"]}]',
            "services[0].role",
            '"master", which starts and stops it, beside commands',
            "commands, or this",
        ),
        (
            'services = [{name = "x", timeout = 0}]',
            "services[0].timeout",
            "0",
            "a number from 1 to 600",
        ),
        ('role = "backup"', "role", 'the string "backup"', '"both" or "master"'),
        ('owner = "root"', "owner", '"root"', 'user and group: "root:bind"'),
        ('mode = "640"', "mode", '"640"', 'four octal digits in quotes: "0640"'),
        ('mode = "4755"', "mode", '"4755"', 'four octal digits in quotes: "0640"'),
        ("mode = 640", "mode", "a whole number, 640", 'four octal digits in quotes: "0640"'),
        ("order = 100", "order", "100", "a number from 0 to 99"),
    ],
)
def test_a_mistake_in_a_section(
    line: str, key: str, found: str, expected: str, tmp_path: Path
) -> None:
    sections, problems = sections_of(tmp_path, f"[section.unbound]\n{line}\n", sync='"unbound"')
    (problem,) = problems
    assert (problem.file, problem.key) == ("group.toml", f"section.unbound.{key}")
    assert (problem.found, problem.expected) == (found, expected)
    assert problem.line == GROUP.count("\n") + 5 + line.count("\n")
    assert "unbound" not in sections


def test_one_of_ones_own_needs_paths(tmp_path: Path) -> None:
    assert told(tmp_path, "[section.unbuond]\n") == [
        "group.toml:29: section.unbuond.paths: found nothing, expected paths of its own, as it is "
        'no preset: paths = ["/etc/unbound/"], or services (did you mean "unbound"?)'
    ]


def test_the_name_of_carpools_own_section_is_taken(tmp_path: Path) -> None:
    sections, problems = sections_of(tmp_path, '[section.carpool]\npaths = ["/x"]\n')
    assert [(p.key, p.expected) for p in problems] == [("section.carpool", "another name")]
    assert sections["carpool"].paths == (str(tmp_path / "group.toml"),)


def test_where_the_configuration_is_nothing_travels(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(".")
    tables = "".join(
        f'[section.x{number}]\npaths = ["{path}"]\n'
        for number, path in enumerate((tmp_path / "node.toml", f"{tmp_path}/", tmp_path / "a"))
    )
    assert len(told(tmp_path, tables)) == 3
    write(tmp_path, group=f"{GROUP}{tables}")
    _, problems = load_sections(tmp_path / "link", tmp_path / "presets")
    assert len(problems) == 3


def test_selected_sections_are_known_and_share_nothing(tmp_path: Path) -> None:
    tables = '[section.own]\npaths = ["/etc/unbound/own.conf"]\n'
    assert told(tmp_path, tables, '"own"') == []
    assert told(tmp_path, tables, '"own", "unbound", "unbond"') == [
        'group.toml:28: sync.sections[1]: found /etc/unbound/own.conf in "unbound", and in '
        '"own" too, expected each path in one selected section '
        "(give [section.unbound] other `paths`, or an `exclude` in the outer one)",
        'group.toml:28: sync.sections[2]: found "unbond", which is no section, expected the name '
        'of a preset or of a [section.NAME] (did you mean "unbound"?)',
    ]


@pytest.mark.parametrize(
    "group",
    [
        "name =",
        GROUP + "[section.x]\npaths = []\n[section.x]\n",
        GROUP + "sync = 1\n",
        GROUP + "[sync]\nsections = 1\n",
        GROUP + '[sync]\nsections = "unbound"\n',
        GROUP + '[sync]\nsections = [1, "No name"]\n',
        "section = 1\n" + GROUP,
        GROUP + "[section]\nx = 1\n",
        GROUP + '[section."a b"]\nx = 1\n',
    ],
)
def test_what_settings_tell_is_not_told_again(group: str, tmp_path: Path) -> None:
    config, problems = load_texts(tmp_path, group=group)
    assert config is None and problems
    sections, problems = load_sections(tmp_path)
    assert problems == []
    assert sections.keys() == {*WANTED, "carpool"}


def test_no_file_at_all_leaves_the_presets(tmp_path: Path) -> None:
    sections, problems = load_sections(tmp_path / "nowhere")
    assert problems == []
    assert sections.keys() == {*WANTED, "carpool"}
