"""What of notification URLs is shown."""

from __future__ import annotations

import pytest

from carpool.machine.alerturl import is_url, masked, scrubbed


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "mailtos://me:s3cret@mail.example.com:587?to=ops@example.com",
            "mailtos://****@mail.example.com:587/****",
        ),
        ("json://192.0.2.7:8080/hook/4711", "json://192.0.2.7:8080/****"),
        ("jsons://hooks.example.com", "jsons://hooks.example.com"),
        ("tgram://123456:AAbbCC/4711", "tgram://****"),
        ("slack://T1/B2/C3", "slack://****"),
        ("ntfy://my-topic", "ntfy://****"),
        ("no url at all", "****"),
    ],
)
def test_nothing_secret_is_shown(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_what_others_say_is_shown_without_the_secrets() -> None:
    url = "mailtos://me%40x:s3cret%2Fword@mail.example.com?to=ops@example.com"
    text = "login of me@x with s3cret/word (s3cret%2Fword) at mail.example.com was refused"
    assert scrubbed(text, url) == "login of **** with **** (****) at mail.example.com was refused"
    assert scrubbed("Max retries: /bot123:AAbb/send", "tgram://123:AAbb/9").count("****") == 2


def test_what_has_the_form_of_a_url() -> None:
    assert is_url("json://localhost") and is_url("mailto://a:b@c?to=d@e")
    assert not any(map(is_url, ("", "localhost", "json:/x", "json://a b", "json://a\nb", "://x")))
