"""Laws of keys: each goes to its own host, and to no other."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chogori.api.keys import FILE, Keys, key_for
from chogori.errors import ConfigError

ENVIRON = {
    "MOONSHOT_API_KEY": "sk-moonshot",
    "OPENAI_API_KEY": "sk-openai",
    "CHOGORI_API_KEY": "sk-own",
    "CHOGORI_API_HOST": "gpu.example:8000",
}


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.moonshot.ai/v1", "sk-moonshot"),
        ("https://API.moonshot.CN/v1", "sk-moonshot"),
        ("https://api.openai.com/v1", "sk-openai"),
        ("https://api.openai.com:443/v1", "sk-openai"),
        ("http://gpu.example:8000/v1", "sk-own"),
        ("http://gpu.example/v1", None),
        ("http://gpu.example:8001/v1", None),
        ("http://api.moonshot.ai/v1", None),
        ("https://api.moonshot.ai:8443/v1", None),
        ("https://api.moonshot.ai.evil.example/v1", None),
        ("https://evil.example/api.moonshot.ai/v1", None),
        ("https://api.moonshot.ai@evil.example/v1", None),
        ("http://127.0.0.1:8000/v1", None),
    ],
)
def test_a_key_of_the_environment_goes_to_its_own_host(url: str, key: str | None) -> None:
    assert key_for(url, None, ENVIRON) == key


@given(st.from_regex(r"[a-z.\-]{1,20}", fullmatch=True), st.sampled_from(["http", "https"]))
def test_no_other_host_gets_any_key(host: str, scheme: str) -> None:
    own = {"api.moonshot.ai", "api.moonshot.cn", "api.openai.com", "gpu.example"}
    if host.rstrip(".") not in own:
        assert key_for(f"{scheme}://{host}/v1", None, ENVIRON) is None


def test_a_host_without_a_port_names_all_its_ports() -> None:
    environ = {"CHOGORI_API_KEY": "k", "CHOGORI_API_HOST": "GPU.example"}
    assert key_for("http://gpu.example:9/v1", None, environ) == "k"
    assert key_for("http://[::1]:9/v1", None, environ | {"CHOGORI_API_HOST": "[::1]:9"}) == "k"


def keep(folder: Path, text: str, mode: int = 0o600) -> None:
    (folder / FILE).write_text(text)
    (folder / FILE).chmod(mode)


def test_the_file_goes_before_the_environment(tmp_path: Path) -> None:
    keep(tmp_path, '{"api.moonshot.ai": "sk-file", "localhost:8000": "sk-port"}')
    assert key_for("https://api.moonshot.ai/v1", tmp_path, ENVIRON) == "sk-file"
    assert key_for("http://localhost:8000/v1", tmp_path, {}) == "sk-port"
    assert key_for("http://localhost:8001/v1", tmp_path, {}) is None
    assert key_for("https://api.openai.com/v1", tmp_path, ENVIRON) == "sk-openai"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    keep(tmp_path, '{"h": "sk-secret"}', mode)
    with pytest.raises(ConfigError, match="chmod 600") as caught:
        key_for("http://h/v1", tmp_path, {})
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"h": sk-secret}', '["sk-secret"]', '{"h": ["sk-secret"]}'])
def test_a_broken_file_is_named_without_what_it_holds(tmp_path: Path, text: str) -> None:
    keep(tmp_path, text)
    with pytest.raises(ConfigError, match=FILE) as caught:
        key_for("http://h/v1", tmp_path, {})
    assert "secret" not in str(caught.value)


def test_keys_do_not_show_in_a_repr() -> None:
    assert "sk-" not in repr(Keys(None, ENVIRON))


def test_a_key_whose_host_is_not_named_waits_and_says_so() -> None:
    keys = Keys(None, {"CHOGORI_API_KEY": "sk-own"})
    assert keys("http://gpu.example:8000/v1") is None
    with pytest.raises(ConfigError, match=r"CHOGORI_API_HOST=gpu\.example:8000"):
        keys.advice("http://gpu.example:8000/v1")


def test_the_advice_names_what_would_work(tmp_path: Path) -> None:
    advice = Keys(tmp_path).advice("https://api.moonshot.ai/v1")
    assert FILE in advice
    assert "MOONSHOT_API_KEY" in advice
    assert "CHOGORI_API_HOST=h:9" in Keys().advice("http://h:9/v1")
