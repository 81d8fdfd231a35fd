"""What becomes of what a call reserved of its budgets, once it is known how it ended."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.codec import dump
from gateway.model.bill import Bill, Charge
from gateway.model.facts import StepStatus
from gateway.model.limit import BYTES, MEASURED, MILLION, MODEL_TOKENS, SECONDS, amount_text
from gateway.store.budgets import Settled

__all__ = ["cost_texts", "settled", "settled_later"]

_BYTES_PER_TOKEN: Final = 4


def settled(bill: Bill, status: StepStatus, result: Mapping[str, Any] | None, took_ms: int) -> tuple[Settled, ...]:
    """Return what becomes of the charges of a call: spent if it succeeded, given back if it certainly did nothing.

    While it is in doubt they stay reserved. Tokens of the model that an agent reported are gone in any case.
    """
    if status is StepStatus.UNKNOWN or not bill.charges:
        return ()
    return tuple(_settled(bill.charges, result if status is StepStatus.SUCCEEDED else None, took_ms))


def _settled(charges: Sequence[Charge], result: Mapping[str, Any] | None, took_ms: int) -> Iterator[Settled]:
    size: int | None = None
    for charge in charges:
        spent = charge.amount if result is not None or charge.unit == MODEL_TOKENS else 0
        if charge.unit in MEASURED and result is not None:
            if charge.unit == SECONDS:
                spent = max(took_ms, 0) * (MILLION // 1000)
            else:
                size = len(dump(result)) if size is None else size
                spent = (size if charge.unit == BYTES else -(-size // _BYTES_PER_TOKEN)) * MILLION
        yield Settled(charge.key, charge.start_ms, charge.amount, spent)


def settled_later(claim: Mapping[str, Any], *, succeeded: bool) -> tuple[Settled, ...]:
    """Return the same for a call in doubt of which a person or a look-up says how it ended, from its claim's event."""
    told = claim.get("claim", {}).get("charges", ())
    return tuple(Settled(key, start_ms, amount, amount if succeeded else 0) for key, start_ms, amount in told)


def cost_texts(cost: Mapping[str, int]) -> dict[str, str]:
    """Return what a call costs, by unit, as its event says it: exact decimals."""
    return {unit: amount_text(amount) for unit, amount in cost.items()}
