"""Secrets, such as passwords and tokens: whatever is kept, shown or handed on has placeholders in their place.

:func:`hidden` replaces secrets in settings, :func:`revealed` puts them back for a server or a user's function, and
:func:`redacted` replaces them in texts of other programs. Child processes get the secrets by the environment, never by
arguments or files.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus, unquote

_ENVIRONMENT = "PTQ_HIDDEN"
_PLACEHOLDER = re.compile(r"\*{3}[0-9]*")
_WORDS = {"password", "passwd", "passphrase", "pass", "pwd", "secret", "credential", "credentials", "token", "bearer"}
_PAIRS = {"apikey", "accesskey", "accountkey", "privatekey", "sharedkey", "authstring"}
_OF_QUERIES = {"sig", "signature", "key"}
_FOLDERS = ("PWD", "OLDPWD")  # of the environment
_PLACES = {"file", "path", "dir", "folder", "url", "uri"}
# In an address: the password, a user name as long as a token, values of the query.
_PASSWORD = re.compile(r"(?<=://)(?P<before>[^\s/?#@:'\"]*:)(?P<secret>[^\s'\"]+)(?=@)")
_WHOLE_ADDRESS = re.compile(r"^(?P<before>['\"]?[\w.+-]+://[^\s/?#@:]*:)(?P<secret>.+)(?=@)", re.DOTALL)
_USER = re.compile(r"(?<=://)(?P<before>)(?P<secret>[^\s/?#@:'\"]{20,})(?=@)")
_QUERY = re.compile(r"(?P<before>[?&;](?P<name>[\w.-]+)=)(?P<secret>[^\s&;#'\"]+)")
# In a word of the command line that is no setting.
_SETTING = re.compile(
    r"(?P<before>(?P<name>[\w.-]+)['\"]?\s*[=:]\s*)(?P<secret>\$\{[^}]*\}|'[^']*'|\"[^\"]*\"|[^\s,{}\[\]&'\"]+)"
)
# Shorter secrets would match anywhere in a text; those up to _WORD characters match only as whole words.
_SHORTEST, _WORD = 4, 7
# The least number that may be a secret; True and indices are none.
_LEAST = 1000

# The secrets by placeholder, and the spellings of each.
_known: dict[str, Any] = {}
_spellings: dict[str, str] = {}


def is_secret(key: str) -> bool:
    """Whether the name of a key, or of an environment variable, says that its value is secret.

    Args:
        key: The name.

    Example:
        >>> is_secret("dataset.arguments.password"), is_secret("dataset.path")
        (True, False)
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", key.rpartition(".")[2])]
    named = _WORDS & {*words} or _PAIRS & {*words} or _PAIRS & {a + b for a, b in pairwise(words)}
    return bool(named) and words[-1] not in _PLACES


def learn(secrets: Mapping[str, Any]) -> None:
    """Remember secrets and their placeholders that another process found.

    Args:
        secrets: Secrets by placeholder.
    """
    for placeholder, secret in secrets.items():
        _known[placeholder] = secret
        text = str(secret)
        spelled = {text, unquote(text), quote(text), quote(text, safe=""), quote_plus(text)}
        spelled |= {repr(text)[1:-1], json.dumps(text)[1:-1]}
        _spellings.update(dict.fromkeys((each for each in spelled if len(each) >= _SHORTEST), placeholder))


def known() -> dict[str, Any]:
    """The secrets by placeholder."""
    return dict(_known)


def hidden(value: Any, key: str = "") -> Any:
    """Settings in which placeholders replace secrets: values of secret keys, and parts of addresses.

    Args:
        value: A setting, or nested dictionaries and lists of settings.
        key: The name of the setting.
    """
    if isinstance(value, dict):
        return {name: hidden(each, str(name)) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(hidden(each, key) for each in value)
    if is_secret(key) and isinstance(value, str | int) and (isinstance(value, str) or value >= _LEAST):
        return _placeholder(value) if value and "${" not in str(value) else value
    return _without_addresses(_without(value, _WHOLE_ADDRESS)) if isinstance(value, str) else value


def revealed(value: Any) -> Any:
    """Settings in which the secrets replace their placeholders.

    Args:
        value: What :func:`hidden` returned.
    """
    if isinstance(value, dict):
        return {name: revealed(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(revealed, value))
    if not isinstance(value, str):
        return value
    return _known.get(value, _PLACEHOLDER.sub(lambda found: str(_known.get(found[0], found[0])), value))


def redacted(text: str) -> str:
    """A text without secrets, in whichever spelling they occur.

    Args:
        text: Text of another program, such as a message.

    Example:
        >>> redacted("cannot open https://me:open-sesame@example.com/data").count("open-sesame")
        0
    """
    for spelled in sorted(_spellings, key=len, reverse=True):
        if spelled in text:
            edges = (r"(?<!\w)", r"(?!\w)") if len(spelled) <= _WORD else ("", "")
            text = re.sub(re.escape(spelled).join(edges), _spellings[spelled], text)
    return _without_addresses(text)


def redacted_word(word: str) -> str:
    """A word of an unparsed command line, without what looks like a secret.

    Args:
        word: The word, perhaps ``key=value``.
    """
    key, sign, value = word.partition("=")
    word = f"{key}{sign}{_without(value, _WHOLE_ADDRESS)}"
    return _without_addresses(_without(word, _SETTING, is_secret))


def forgotten(value: Any, key: str = "") -> Iterator[str]:
    """Dotted keys whose placeholder stands for no known secret: the user copied a value that was shown.

    Args:
        value: A setting, or nested dictionaries of settings.
        key: The name of the setting.
    """
    if isinstance(value, dict):
        for name, each in value.items():
            yield from forgotten(each, f"{key}.{name}" if key else str(name))
    elif isinstance(value, str) and (is_secret(key) or "://" in value):
        yield from [key] if {*_PLACEHOLDER.findall(value)} - _known.keys() else []


def _learn_environment() -> None:
    """Remember the secrets in the environment: those of libraries, and those of the process that started this one."""
    inherited = json.loads(os.environ.pop(_ENVIRONMENT, "{}"))
    for name, value in dict(os.environ).items():
        hidden(value, "" if name in _FOLDERS else name)
    _spellings.update(dict.fromkeys(_spellings, "***"))
    _known.clear()
    os.environ.pop(_ENVIRONMENT, None)
    if inherited:
        learn(inherited)
        os.environ[_ENVIRONMENT] = json.dumps(inherited)


def _without_addresses(text: str) -> str:
    if "://" in text:
        text = _without(_without(text, _PASSWORD), _USER)
    return _without(text, _QUERY, lambda name: is_secret(name) or name.lower() in _OF_QUERIES) if "=" in text else text


def _without(text: str, pattern: re.Pattern[str], named: Callable[[str], bool] = bool) -> str:
    def replace(found: re.Match[str]) -> str:
        secret = found["secret"].strip("'\"")
        asked = named(found["name"]) if "name" in pattern.groupindex else True
        return found[0] if not asked or "${" in secret else found["before"] + _placeholder(secret)

    return pattern.sub(replace, text)


def _placeholder(secret: Any) -> str:
    if isinstance(secret, str) and _PLACEHOLDER.match(secret):  # and what a library has put behind it
        return secret
    there = next((name for name, each in _known.items() if each == secret and type(each) is type(secret)), None)
    if there:
        return there
    placeholder = f"***{len(_known) + 1 if _known else ''}"
    learn({placeholder: secret})
    os.environ[_ENVIRONMENT] = json.dumps(_known)
    return placeholder


class _Stream:
    """A stream that redacts what is written to it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def redact_output() -> None:
    """Redact everything that this process prints from now on, whichever library prints it."""
    for name in ("stdout", "stderr"):
        if not isinstance(getattr(sys, name), _Stream):
            setattr(sys, name, _Stream(getattr(sys, name)))


_learn_environment()
