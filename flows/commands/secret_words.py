"""Secrets on the command line: taken out of its words before anything else reads, keeps or repeats them."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tasks.redaction import hidden, redacted_word

# A word without any of it needs no grammar, whose import takes a while.
_SUSPICIOUS = re.compile("://|pass|pwd|secret|credential|token|bearer|key|auth", re.IGNORECASE)


def without_secrets(words: Sequence[str]) -> list[str]:
    """The words with placeholders (see ``tasks.redaction``); those for Hydra itself and flags stay, but are known."""
    return [_without_secrets(word) if _SUSPICIOUS.search(word) else word for word in words]


def _without_secrets(word: str) -> str:
    if word.startswith(("-", "hydra.")) or "=" not in word:
        redacted_word(word)
        return word
    from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: PLC0415 - see above
    from hydra.core.override_parser.types import Transformer  # noqa: PLC0415
    from hydra.errors import HydraException  # noqa: PLC0415

    from tasks.pot.overrides import spelled  # noqa: PLC0415

    try:
        override = OverridesParser.create().parse_overrides([word])[0]
    except HydraException:
        return redacted_word(word)
    several = override.is_choice_sweep()
    if override.is_sweep_override() and not several:
        return word
    if "${" in word:
        return redacted_word(word)
    name = override.get_key_element().rpartition(".")[2]
    found: Iterable[Any] = override.sweep_iterator(Transformer.identity) if several else [override.value()]
    values = [_plain(each) for each in found]
    safe = [hidden(each, name) for each in values]
    return word if safe == values else f"{override.get_key_element()}={','.join(map(spelled, safe))}"


def _plain(value: Any) -> Any:
    """A value of Hydra's grammar without the note of how its texts were quoted."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(_plain(name)): _plain(each) for name, each in value.items()}
    return getattr(value, "text", value)
