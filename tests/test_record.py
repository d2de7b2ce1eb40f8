"""Classes with fields: the same as those of dataclasses and typing.NamedTuple."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from typing import Any, ClassVar

import pytest

from pybpf import record
from pybpf.record import NamedTuple, dataclass, field, field_names, replace

pytestmark = pytest.mark.pure


@dataclass
class Plain:
    """Without options."""

    number: int
    text: str = "x"
    found: list[int] = field(default_factory=list)
    shared: ClassVar[int] = 3


@dataclass(frozen=True)
class Frozen:
    """Compares and hashes by one field of two."""

    number: int
    note: str = field(compare=False)


@dataclass(frozen=True)
class Wider(Frozen):
    """A field more, and another default."""

    width: int = 4


@dataclass(eq=False)
class Node:
    """Equal to itself alone; refers to itself."""

    next: Node | None = None

    def __post_init__(self) -> None:
        if self.next is None:
            self.next = self


@dataclass(order=True, frozen=True)
class Ordered:
    """Has an order."""

    first: int
    second: int


class Tuple(NamedTuple):
    """A named tuple."""

    number: int
    text: str = "x"

    def twice(self) -> int:
        """A method."""
        return 2 * self.number


class Long(NamedTuple):
    """With more fields than there are makers in the file."""

    a: int
    b: int
    c: int
    d: int
    e: int
    f: int
    g: int
    h: int
    i: int = 9
    j: int = 10


def test_fields_are_given_by_place_and_by_name_and_have_defaults() -> None:
    assert vars(Plain(1)) == {"number": 1, "text": "x", "found": []}
    assert Plain(1).found is not Plain(1).found
    assert Plain(text="y", number=2) == Plain(2, "y", [])
    assert Wider(1, "n") == Wider(1, width=4, note="other")
    assert (Plain.text, Plain.shared, field_names(Wider)) == ("x", 3, ("number", "note", "width"))
    assert Node().next is not None


@pytest.mark.parametrize("given, named, says", [
    ((), {}, "wants a value for 'number'"),
    ((1, "", [], 4), {}, "takes 3 values but 4"),
    ((1,), {"number": 1}, "two values for 'number'"),
    ((1,), {"other": 1}, "an unknown field 'other'"),
])  # fmt: skip
def test_wrong_calls(given: Any, named: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Plain(*given, **named)


def test_equality_order_and_hashes() -> None:
    assert Frozen(1, "a") == Frozen(1, "b") != Frozen(2, "a")
    assert Frozen(1, "a") != Wider(1, "a")
    assert hash(Frozen(1, "a")) == hash(Frozen(1, "b"))
    assert Plain.__hash__ is None
    assert Node() != Node() and len({Node(), Node()}) == 2
    assert sorted([Ordered(2, 1), Ordered(1, 3), Ordered(1, 2)]) == [Ordered(1, 2), Ordered(1, 3), Ordered(2, 1)]
    with pytest.raises(TypeError):
        assert Ordered(1, 2) < (1, 2)  # type: ignore[operator]


def test_frozen_objects_stay_as_they_are() -> None:
    for change in (lambda: setattr(Frozen(1, ""), "number", 2), lambda: delattr(Frozen(1, ""), "number")):
        with pytest.raises(dataclasses.FrozenInstanceError, match="number"):
            change()


def test_texts() -> None:
    assert repr(Wider(1, "n")) == "Wider(number=1, note='n', width=4)"
    assert repr(Node()) == "Node(next=...)"


def test_copies() -> None:
    assert replace(Wider(1, "n"), width=8) == Wider(1, "n", 8)
    assert dataclasses.replace(Wider(1, "n"), width=8) == Wider(1, "n", 8)
    for each in (Wider(1, "n"), Tuple(1)):
        assert pickle.loads(pickle.dumps(each)) == copy.deepcopy(each) == each


def test_what_others_ask_of_dataclasses_is_there() -> None:
    assert dataclasses.is_dataclass(Plain)
    assert [each.name for each in dataclasses.fields(Wider)] == ["number", "note", "width"]
    assert dataclasses.asdict(Plain(1)) == {"number": 1, "text": "x", "found": []}
    assert list(inspect.signature(Wider).parameters) == ["number", "note", "width"]
    assert inspect.signature(Wider).parameters["width"].default == 4

    @dataclasses.dataclass(frozen=True)
    class Real(Frozen):
        more: int = 0

    assert Real(1, "n", more=2).more == 2

    class Other(Plain):
        def __init__(self, alone: int) -> None:
            super().__init__(alone)

    assert list(inspect.signature(Other).parameters) == ["alone"]


def test_named_tuples() -> None:
    assert Tuple(1) == (1, "x") == Tuple(text="x", number=1)
    assert (Tuple(1).text, Tuple(4).twice(), repr(Tuple(1))) == ("x", 8, "Tuple(number=1, text='x')")
    assert Tuple(1)._replace(text="y") == (1, "y")
    assert (Tuple._fields, Tuple._field_defaults) == (("number", "text"), {"text": "x"})
    assert Tuple._make([1, 2]) == (1, 2) and Tuple(1)._asdict() == {"number": 1, "text": "x"}
    assert Long(*range(8)) == (*range(8), 9, 10)
    assert list(inspect.signature(Long).parameters) == list("abcdefghij")
    assert typing.get_type_hints(Tuple) == {"number": int, "text": str}
    assert not hasattr(Tuple(1), "__dict__")


def test_wrong_named_tuples() -> None:
    for wrong in (lambda: Tuple(), lambda: Tuple(1, "", 2), lambda: Tuple(1, other=2), lambda: Tuple._make([1])):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(ValueError, match="other"):
        Tuple(1)._replace(other=2)
    with pytest.raises(AttributeError):
        Tuple(1).number = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="without a default"):
        type(record.NamedTuple)("Wrong", (NamedTuple,), {
            "__annotations__": {"a": int, "b": int}, "a": 1, "__module__": "m", "__qualname__": "Wrong",
        })  # fmt: skip
