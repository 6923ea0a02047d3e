"""Secrets are found by their keys and in addresses, come back where they are needed, and are in no text."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from flows.commands.secret_words import without_secrets
from tasks import redaction
from tasks.config.schema import EvaluateConfig
from tasks.errors import InputError
from tasks.redaction import forgotten, hidden, is_secret, redacted, revealed
from tests.flows.conftest import own_environment


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("_known", "_spellings"):
        monkeypatch.setattr(redaction, name, {})
    monkeypatch.delenv("PTQ_HIDDEN", raising=False)
    yield
    os.environ.pop("PTQ_HIDDEN", None)


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        *(
            (key, True)
            for key in ("password", "db_password", "dbPassword", "AWS_SECRET_ACCESS_KEY", "api_key", "apikey")
        ),
        *((key, True) for key in ("dataset.arguments.token", "HF_TOKEN", "PREFECT_API_AUTH_STRING", "privateKey")),
        *((key, False) for key in ("tokenizer", "max_tokens", "key", "password_file", "TOKENIZERS_PARALLELISM", "")),
        *((key, False) for key in ("dataset.path", "bypass", "api", "monkey", "token.path", "author")),
    ],
)
def test_keys_of_secrets(key: str, secret: bool) -> None:
    assert is_secret(key) == secret


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:pw-1@host:5000/x", "http://me:***@host:5000/x"),
        ("postgresql+psycopg2://me:p@ss/w?rd@host/db", "postgresql+psycopg2://me:***@host/db"),
        ("https://:only@host", "https://:***@host"),
        ("https://host/x?sig=abc%3D&version=2", "https://host/x?sig=***&version=2"),
        ("https://host/x?a=1&X-Amz-Security-Token=abcd#end", "https://host/x?a=1&X-Amz-Security-Token=***#end"),
        ("https://me:one@host/?api_key=two-2", "https://me:***@host/?api_key=***2"),
        ("https://ghp_0123456789abcdefghij@host/x", "https://***@host/x"),
        ("http://host:5000/path", "http://host:5000/path"),
        ("sqlite:///a/b.db?mode=ro", "sqlite:///a/b.db?mode=ro"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
    ],
)
def test_addresses_lose_their_secrets_and_get_them_back(address: str, shown: str) -> None:
    assert hidden({"tracking": {"uri": address}}) == {"tracking": {"uri": shown}}
    assert revealed(shown) == address
    assert redacted(f"Error at {address}: refused") == f"Error at {shown}: refused"
    assert hidden(shown) == shown


@pytest.mark.parametrize("secret", ["hunter2", "a b'c\"d", "päss\\wörd", 123456, "[MASK]", "p%40ss", "x" * 500])
def test_a_secret_comes_back_as_what_it_was_and_is_in_no_text(secret: str | int) -> None:
    settings = {"arguments": {"token": secret, "folder": "/data", "list": [{"api_key": secret}]}}
    safe = hidden(settings)
    assert safe == {"arguments": {"token": "***", "folder": "/data", "list": [{"api_key": "***"}]}}
    assert revealed(safe) == settings
    for said in (str(secret), repr(secret), json.dumps(secret), quote(str(secret), safe="")):
        text = redacted(f"server says <{said}>, and again: {said}")
        assert str(secret) not in text
        assert "***" in text


def test_common_words_stay_where_they_are_no_secret() -> None:
    hidden({"password": "flow", "token": "ab", "other_token": 5, "secret": True, "credentials": None})
    assert redacted("openvino-ptq-flow, overflow: ab") == "openvino-ptq-***, overflow: ab"
    assert redaction.known() == {"***": "flow", "***2": "ab"}


WORDS = {
    "tracking.uri=http://me:pw-1@host": "tracking.uri='http://me:***@host'",
    r"tracking.uri='http://me:a\'b,c@host'": "tracking.uri='http://me:***@host'",
    "tracking.uri=http://a:pw-1@h1,http://b:pw-2@h2,null": "tracking.uri='http://a:***@h1','http://b:***2@h2',null",
    "tracking={uri:http://me:pw-1@host,experiment:e}": "tracking={uri:'http://me:***@host',experiment:e}",
    "+dataset.arguments={token:abcde,n:3}": "+dataset.arguments={token:'***',n:3}",
    "++dataset.arguments.password=123456": "++dataset.arguments.password='***'",
    "tracking.uri=http://me:pw-1@host?x=1": "tracking.uri=http://me:***@host?x=1",  # not Hydra's grammar
    "tracking.password=two words": "tracking.password='***'",
    "tracking.password=two [words": "tracking.password=*** [words",  # likewise
    "tracking.uri='http://me:${oc.env:PW}@host'": "tracking.uri='http://me:${oc.env:PW}@host'",
    "+dataset.arguments.token=${oc.env:TOKEN}": "+dataset.arguments.token=${oc.env:TOKEN}",
    "+dataset.arguments.token=range(1,1000000000)": "+dataset.arguments.token=range(1,1000000000)",
    "dataset.path=/data/key.npz": "dataset.path=/data/key.npz",
    "--config-dir=/tokens": "--config-dir=/tokens",
    "hydra.job.env_set.API_TOKEN=abcde": "hydra.job.env_set.API_TOKEN=abcde",
}


@pytest.mark.parametrize("word", WORDS)
def test_words_of_the_command_line(word: str) -> None:
    assert without_secrets([word]) == [WORDS[word]]
    if word.startswith("hydra"):
        assert redacted("got abcde") == "got ***"


def test_a_placeholder_that_somebody_typed_is_refused() -> None:
    typed = {"tracking": {"uri": "http://me:***@host"}, "dataset": {"arguments": {"token": "***2"}}, "name": "***"}
    assert list(forgotten(typed)) == ["tracking.uri", "dataset.arguments.token"]
    hidden({"password": "known"})
    assert list(forgotten(typed)) == ["dataset.arguments.token"]


def test_the_refusal_is_a_line_a_key() -> None:
    from hydra import compose, initialize_config_module  # noqa: PLC0415

    from tasks.config.schema import from_hydra  # noqa: PLC0415

    with initialize_config_module("conf", version_base="1.3"):
        composed = compose("evaluate", overrides=["tracking.uri='http://me:***@host'"])
        with pytest.raises(InputError, match=r"^tracking.uri: \*\*\* stands for a secret that was not written down"):
            from_hydra(composed, EvaluateConfig)


CHILD = """
from tasks.redaction import redacted, revealed
print(revealed("http://me:***@host"), redacted("inherited-1 env-pass-1 proxy-pass-1 /some/folder"))
"""


def test_other_processes_know_from_the_environment_alone(tmp_path: object) -> None:
    hidden({"password": "inherited-1"})
    environment = own_environment(tmp_path) | {  # type: ignore[arg-type]
        "PTQ_HIDDEN": os.environ["PTQ_HIDDEN"],
        "MLFLOW_TRACKING_PASSWORD": "env-pass-1",
        "PWD": "/some/folder",
        "HTTPS_PROXY": "http://me:proxy-pass-1@proxy:1",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "http://me:inherited-1@host *** *** *** /some/folder\n"
