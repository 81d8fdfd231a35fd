"""From what a rule under `tools:` says of answers to what judges them."""

from functools import partial

from gateway.catalog.answers import caching
from gateway.catalog.assertions import assertions
from gateway.catalog.config import ToolRule
from gateway.catalog.labels import is_incomplete, is_stale
from gateway.model.answers import PLAIN, Answers, Label

__all__ = ["answers_of"]


def answers_of(rule: ToolRule) -> Answers:
    """Return what a rule declares of a tool's answers."""
    if rule.cache is None and rule.incomplete is None and rule.stale is None and rule.ensure is None:
        return PLAIN
    declared = {Label.INCOMPLETE: rule.incomplete, Label.STALE: rule.stale}
    return Answers(
        caching=caching(rule.cache),
        incomplete=None if rule.incomplete is None else partial(is_incomplete, rule.incomplete),
        stale=None if rule.stale is None else partial(is_stale, rule.stale),
        breach=None if rule.ensure is None else assertions(rule.ensure),
        labels=frozenset(label for label, section in declared.items() if section is not None),
    )
