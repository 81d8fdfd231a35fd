"""What a call is charged, and to which budgets: a pure function of the call, the configuration and the time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from gateway.budget.refusal import exceeded
from gateway.model.bill import NO_BILL, Bill, Charge, Left
from gateway.model.call import Call
from gateway.model.errors import RequestFault
from gateway.model.identity import Identity
from gateway.model.limit import (
    CALLS,
    MEASURED,
    MILLION,
    MODEL_TOKENS,
    Limit,
    Price,
    limits_from,
    millionths,
    price_from,
)
from gateway.model.remembering import remembering
from gateway.store.budgets import BudgetCounter, Shortage

__all__ = ["USAGE_META", "Budgets", "Told", "key_of"]

USAGE_META: Final = "io.toolgate/usage"
"""The `_meta` key under which an agent reports its model's `input_tokens` and `output_tokens` since the last report."""

_REPORTED: Final = ("input_tokens", "output_tokens")
_MOST_REPORTED: Final = 10**9 * MILLION
_TOOLS: Final = 4096
_NO_CALLS_LIMIT: Final = 2**63 - 1
_NO_COST_LIMIT: Final = "922337203685477.0"
_PLACES: Final = MILLION // 10_000
_ORDER: Final = ("org", "team", "agent", "run", "tool")


@dataclass(frozen=True, slots=True)
class Told:
    """What the configuration says: allowances by what they are for (org, team:NAME, agent:NAME, run, tool:PATTERN).

    `teams` are each agent's, `prices` each tool's as written; calls of the servers in `own` are not counted.
    """

    allowances: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    teams: Mapping[str, Sequence[str]] = field(default_factory=dict)
    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()


class Budgets:
    """The budgets in force. Immutable: a change of the configuration builds others, over the same counters."""

    def __init__(self, told: Told = Told()) -> None:
        self._teams = told.teams
        self._own = told.own
        self.limits: Mapping[str, tuple[Limit, ...]] = {
            scope: tuple(limits_from(allowance))
            for scope, allowance in sorted(told.allowances.items(), key=lambda each: _ORDER.index(_kind(each[0])))
            if allowance
        }
        self._prices: Mapping[str, tuple[Price, ...]] = {
            tool: tuple(price_from(unit, text) for unit, text in prices.items())
            for tool, prices in told.prices.items()
            if prices
        }
        self._of_tool = remembering(_TOOLS, self._tool_scopes)

    def bill(self, call: Call, run_id: str, now_ms: int) -> Bill:
        """Return what a call costs and is charged to.

        Raises:
            RequestFault: the argument that a budget counts is missing, or is no amount.
            LimitFault: `budget_exceeded`, this call alone takes more than one call may.
        """
        prices = self._prices.get(call.tool.name, ())
        if not (self.limits or prices) or call.tool.server in self._own:
            return NO_BILL
        cost = {price.unit: amount for price in prices if (amount := _amount(price, call.arguments)) is not None}
        charges = tuple(self._charges(call, run_id, now_ms, cost))
        return Bill(now_ms, cost, charges)

    def usage(self, identity: Identity, tokens: int, now_ms: int) -> tuple[Charge, ...]:
        """Return what tokens are charged to that an agent's models have used up already, in no call of a tool."""
        amount = min(tokens * MILLION, _MOST_REPORTED)
        limits = ((scope, limit) for scope in self._whose(identity) for limit in self.limits[scope])
        return tuple(
            _charge(scope, limit, now_ms, MILLION, amount) for scope, limit in limits if limit.unit == MODEL_TOKENS
        )

    def _charges(self, call: Call, run_id: str, now_ms: int, cost: Mapping[str, int]) -> Iterator[Charge]:
        for scope in self._scopes(call):
            name = f"run:{run_id}" if scope == "run" else scope
            for limit in self.limits[scope]:
                amount = self._taken(call, limit.unit, cost)
                if amount is not None and limit.window.is_one_call:
                    if amount > limit.most:
                        raise exceeded([Shortage(_charge(name, limit, now_ms, amount, amount), ())], now_ms)
                elif amount is not None:
                    needs = MILLION if limit.unit in MEASURED or limit.unit == MODEL_TOKENS else amount
                    yield _charge(name, limit, now_ms, needs, amount)

    def _scopes(self, call: Call) -> Iterator[str]:
        yield from self._whose(call.identity)
        if "run" in self.limits:
            yield "run"
        yield from self._of_tool(call.tool.name)

    def _whose(self, identity: Identity) -> Iterator[str]:
        each = (identity, *identity.delegators)
        teams = sorted({team for one in each for team in (*one.teams, *self._teams.get(one.agent, ()))})
        names = ("org", *(f"team:{team}" for team in teams), *(f"agent:{one.agent}" for one in each))
        return (name for name in names if name in self.limits)

    def _tool_scopes(self, tool: str) -> tuple[str, ...]:
        patterns = (scope.partition(":") for scope in self.limits)
        return tuple(f"tool:{name}" for kind, _, name in patterns if kind == "tool" and fnmatchcase(tool, name))

    def _taken(self, call: Call, unit: str, cost: Mapping[str, int]) -> int | None:
        """Return how much of a unit a call takes as far as it is known before; None where it takes none."""
        if unit == CALLS:
            return MILLION
        if unit in MEASURED:
            return 0
        if unit == MODEL_TOKENS:
            return _reported(call.request.meta.get(USAGE_META))
        if unit in cost:
            return cost[unit]
        for price in self._prices.get(call.tool.name, ()):
            if price.unit == unit:
                raise RequestFault(
                    f"{call.tool.wire_name} has to say `{price.path}`, a number that is not negative, or a list: it is "
                    f"counted against a budget of {unit}."
                )
        return None

    @staticmethod
    def left(bill: Bill, counters: Sequence[BudgetCounter]) -> Left:
        """Return what is left, before the call itself, of the budgets it is charged to."""
        calls, cost = [_NO_CALLS_LIMIT], []
        for charge in bill.charges:
            used = sum(each.used for each in counters if each.key == charge.key and each.start_ms >= charge.since_ms)
            if charge.unit == CALLS:
                calls.append((charge.most - used) // MILLION)
            elif charge.unit in bill.cost:
                cost.append((charge.most - used) // _PLACES)
        return Left(min(calls), _decimal(min(cost)) if cost else _NO_COST_LIMIT)


def key_of(scope: str, limit: Limit) -> str:
    """Return the key under which a limit is counted; raising the limit keeps the count, another window begins anew."""
    return f"{scope}|{limit.unit}|{limit.window.name}"


def _charge(scope: str, limit: Limit, now_ms: int, needs: int, amount: int) -> Charge:
    window = limit.window
    when = window.start_ms(now_ms), window.since_ms(now_ms)
    return Charge(key_of(scope, limit), limit.unit, *when, limit.most, needs, amount)


def _kind(scope: str) -> str:
    return scope.partition(":")[0]


def _amount(price: Price, arguments: Mapping[str, Any]) -> int | None:
    if price.fixed is not None:
        return price.fixed
    node: Any = arguments
    for name in price.path.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return len(node) * MILLION if isinstance(node, list) else millionths(node)


def _reported(usage: Any) -> int:
    """Return the tokens that an agent reports; what it says wrongly counts for nothing."""
    counts = [usage.get(name) for name in _REPORTED] if isinstance(usage, Mapping) else []
    return min(sum(max(count, 0) for count in counts if type(count) is int) * MILLION, _MOST_REPORTED)


def _decimal(ten_thousandths: int) -> str:
    sign = "-" if ten_thousandths < 0 else ""
    whole, fraction = divmod(abs(ten_thousandths), 10_000)
    return f"{sign}{whole}.{fraction:04d}"
