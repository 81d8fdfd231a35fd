"""Wire names that every model provider accepts."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.names import WIRE_NAME, wire_names


@given(st.lists(st.text(min_size=1, max_size=90), max_size=12))
def test_every_wire_name_is_model_safe_and_unique(canonical: list[str]) -> None:
    wires = wire_names(canonical)
    assert all(WIRE_NAME.match(wire) for wire in wires.values())
    assert len(set(wires.values())) == len(set(canonical))


@given(st.lists(st.text("ab._", min_size=1, max_size=6), max_size=8), st.randoms())
def test_the_order_of_the_tools_changes_no_name(canonical: list[str], random: object) -> None:
    shuffled = list(canonical)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert wire_names(shuffled) == wire_names(canonical)


def test_a_dot_becomes_an_underscore() -> None:
    assert wire_names(["payments.pay"]) == {"payments.pay": "payments_pay"}


def test_names_that_would_collide_both_get_a_hash() -> None:
    wires = wire_names(["a.b_c", "a_b.c"])
    assert all(wire.startswith("a_b_c_") for wire in wires.values())


def test_a_tool_that_is_called_like_the_hash_of_another_takes_its_name_from_nobody() -> None:
    [named] = wire_names(["github_ext.foo/bar"]).values()
    imitating = f"github.{named.removeprefix('github_')}"
    names = wire_names(["github_ext.foo/bar", imitating])
    assert names["github_ext.foo/bar"] == named
    assert len(set(names.values())) == 2
    again = f"github.{names[imitating].removeprefix('github_')}"
    assert len(set(wire_names(["github_ext.foo/bar", imitating, again]).values())) == 3


def test_two_names_whose_hashes_begin_alike_get_longer_ones() -> None:
    same = "a.long/" + "x" * 60
    alike = [f"{same}{number}" for number in (29281, 73509)]
    assert len(set(wire_names(alike).values())) == 2


def test_a_long_name_is_cut_and_hashed_within_sixty() -> None:
    (wire,) = wire_names(["server." + "x" * 90]).values()
    assert len(wire) == 60
