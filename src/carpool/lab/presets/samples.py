"""What trials of presets write: configurations where a package ships none, and how to spoil one.

Room: lab. Data.
"""

from __future__ import annotations

from collections.abc import Mapping

SAMPLES: Mapping[str, Mapping[str, str]] = {  # by preset: files and their content
    "radvd": {"/etc/radvd.conf": "interface lo { AdvSendAdvert on; prefix fd00::/64 {}; };\n"},
    "wireguard": {
        "/etc/wireguard/wg0.conf": "[Interface]\nAddress = 10.0.0.1/24\n"
        "PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"
    },
    "keepalived": {
        "/etc/keepalived/keepalived.conf": "global_defs {\n    router_id fw1\n"
        "    script_user root\n    enable_script_security\n}\n"
        "virtual_server 10.0.0.1 80 {\n    lb_algo rr\n    lb_kind NAT\n    protocol TCP\n"
        "    real_server 10.0.0.2 80 {\n        TCP_CHECK {\n        }\n    }\n}\n"
    },
    "fail2ban": {"/var/log/auth.log": ""},  # rsyslog makes it; without, its service fails, too
    "suricata": {
        "/var/lib/suricata/rules/suricata.rules": "alert icmp any any -> any any (sid:1;)\n"
    },
    "openvpn": {"/etc/openvpn/server/one.conf": "dev tun\n"},
    "ndppd": {"/etc/ndppd.conf": "proxy lo {\n    rule fd00::/64 {\n        static\n    }\n}\n"},
    "ppp": {  # as its preset shows it
        "/etc/systemd/system/ppp@.service": "[Unit]\nAfter=network.target\n[Service]\n"
        "ExecStart=/usr/sbin/pppd call %i nodetach\nRestart=always\nRestartSec=5\n"
    },
}

BACKPORTED = ("suricata",)  # not in Debian 12 itself since a point release, but in its backports

SPOILS: Mapping[str, tuple[str, str]] = {  # by preset: a file, and what is put at its end
    "nftables": ("/etc/nftables.conf", "tabel inet x {}\n"),
    "dnsmasq": ("/etc/dnsmasq.conf", "no-such-option\n"),
    "unbound": ("/etc/unbound/unbound.conf", "server:\n    no-such-option: 1\n"),
    "bind9": ("/etc/bind/named.conf.local", "zone example {\n"),
    "isc-kea": ("/etc/kea/kea-dhcp4.conf", "{\n"),
    "radvd": ("/etc/radvd.conf", "interface {\n"),
    "haproxy": ("/etc/haproxy/haproxy.cfg", "no-such-keyword\n"),
    "nginx": ("/etc/nginx/nginx.conf", "no_such_directive;\n"),
    "caddy": ("/etc/caddy/Caddyfile", "{\n"),
    "strongswan": ("/etc/ipsec.conf", "no such section\n"),
    "frr": ("/etc/frr/frr.conf", "no such command\n"),
    "bird": ("/etc/bird/bird.conf", "protocol {\n"),
    "keepalived": ("/etc/keepalived/keepalived.conf", "no_such_keyword 1\n"),
    "chrony": ("/etc/chrony/chrony.conf", "no-such-directive\n"),
    "openssh-server": ("/etc/ssh/sshd_config", "NoSuchOption yes\n"),
    "rsyslog": ("/etc/rsyslog.conf", "module(load=no\n"),
    "sysctl": ("/etc/sysctl.conf", "no assignment\n"),
    "users": ("/etc/passwd", "nobody-else\n"),
    "certificates": ("/usr/local/share/ca-certificates/one.crt", "no certificate\n"),
    "freeradius": ("/etc/freeradius/3.0/clients.conf", "client {\n"),
    "squid": ("/etc/squid/squid.conf", "http_access maybe all\n"),
    "suricata": ("/etc/suricata/suricata.yaml", "a: [\n"),
    "monit": ("/etc/monit/monitrc", "no such statement\n"),
    "fail2ban": ("/etc/fail2ban/jail.conf", "[no-such\n"),
    "dhcp-helper": ("/etc/default/dhcp-helper", "OPTIONS='no end\n"),
    "isc-dhcp-relay": ("/etc/default/isc-dhcp-relay", "OPTIONS='no end\n"),
}

# By preset that is tried in both roles (`roletrial.py`): packages that this takes. Where the kernel
# has no WireGuard, wg-quick takes the one that runs as a program.
ROLES: Mapping[str, tuple[str, ...]] = {
    "frr": ("iproute2", "iputils-ping"),
    "openvpn": ("iproute2", "iputils-ping"),
    "wireguard": ("iproute2", "iputils-ping", "wireguard-go"),
}
