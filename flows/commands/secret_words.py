"""Secrets on the command line: replaced before anything else reads, keeps or repeats its words."""

import re
from collections.abc import Sequence

from tasks.errors import InputError
from tasks.redaction import hidden, redacted_word

# A word without any of it needs no grammar, whose import takes a while.
_SUSPICIOUS = re.compile("://|pass|pwd|secret|credential|token|bearer|key|auth", re.IGNORECASE)


def without_secrets(words: Sequence[str]) -> list[str]:
    """The words with a placeholder for each secret (see ``tasks.redaction``).

    Flags and words for Hydra itself stay as they are; what is secret in them is kept out of all output.
    """
    return [_without_secrets(word) if _SUSPICIOUS.search(word) else word for word in words]


def _without_secrets(word: str) -> str:
    if word.startswith(("-", "hydra.")) or "=" not in word:
        redacted_word(word)
        return word
    from flows.commands.hydra_overrides import parse_override, plain_values  # noqa: PLC0415 - see above
    from tasks.pot.overrides import spelled  # noqa: PLC0415

    try:
        override = parse_override(word)
    except InputError:
        return redacted_word(word)
    if not (values := plain_values(override)):
        return word
    if "${" in word:
        return redacted_word(word)
    name = override.key.rpartition(".")[2]
    safe = [hidden(each, name) for each in values]
    return word if safe == values else f"{override.key}={','.join(map(spelled, safe))}"
