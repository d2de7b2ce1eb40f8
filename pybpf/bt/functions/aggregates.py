"""What makes a map an aggregate: ``count()`` and its like; what asks about maps: ``delete``, ``has_key``, ``len``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from pybpf.bt.functions.function import Arguments, Function
from pybpf.bt.functions.output import text_of
from pybpf.bt.functions.process import CLOCKS, default_clock
from pybpf.bt.lower.maps import delete_entry, has_entry, key_value
from pybpf.bt.lower.values import Scalar, Value
from pybpf.bt.state.actions import Action
from pybpf.bt.state.maps import NUMBERED
from pybpf.bt.state.series import WAYS
from pybpf.bt.syntax import tree
from pybpf.bt.types import BOOL, Aggregate, Integer, Type
from pybpf.report.histogram import MOST_BITS, MOST_STEPS

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.check.facts import MapFacts
    from pybpf.bt.lower.gen import Gen

__all__ = ["ROWS"]

#: intervals of a series: as many as bpftrace allows
_MOST_INTERVALS = 1000000


def _never(check: Checker, node: tree.Node, arguments: Arguments) -> NoReturn:
    raise AssertionError("aggregates are part of an assignment")


def _no_value(gen: Gen, node: tree.Node, arguments: Arguments) -> NoReturn:
    raise AssertionError("aggregates are part of an assignment")


def _count(check: Checker, node: tree.Node, arguments: Arguments) -> Aggregate:
    return Aggregate("count", False)


def _of_value(way: str) -> Any:
    def find(check: Checker, node: tree.Node, arguments: Arguments) -> Aggregate:
        found = check.integer(arguments[0], f"what {way}() is given")
        return Aggregate(way, not isinstance(found, Integer) or (found.signed and not found.flexible))

    return find


def _literal(check: Checker, node: tree.Node, what: str) -> int:
    value = check.constant(node)
    check.type(node)
    if not isinstance(value, int):
        check.fail(node, f"{what} must be known when the script is compiled")
    return int(value)


def _hist(check: Checker, node: tree.Node, arguments: Arguments) -> Aggregate:
    check.integer(arguments[0], "what hist() is given")
    bits = _literal(check, arguments[1], "the bits of hist()") if len(arguments) > 1 else 0
    if not 0 <= bits <= MOST_BITS:
        check.fail(arguments[1], f"the bits of hist() are 0 to {MOST_BITS}, not {bits}")
    return Aggregate("hist", False, (bits,))


def _lhist(check: Checker, node: tree.Node, arguments: Arguments) -> Aggregate:
    check.integer(arguments[0], "what lhist() is given")
    low, high, step = (_literal(check, each, "minimum, maximum and step of lhist()") for each in arguments[1:])
    if step < 1:
        check.fail(arguments[3], f"the step of lhist() is at least 1, not {step}")
    if low >= high:
        check.fail(arguments[1], f"the minimum of lhist(), {low}, must be below the maximum, {high}")
    if (high - low) // step > MOST_STEPS:
        check.fail(node, f"lhist() has at most {MOST_STEPS} buckets, not {(high - low) // step}; widen the step")
    return Aggregate("lhist", False, (low, high, step))


def _series(check: Checker, node: tree.Node, arguments: Arguments) -> Aggregate:
    found = check.integer(arguments[0], "what tseries() is given")
    interval, number = (_literal(check, each, "interval and number of tseries()") for each in arguments[1:3])
    if interval < 1:
        check.fail(arguments[1], f"an interval of tseries() lasts at least 1 nanosecond, not {interval}; write 100ms")
    if not 1 <= number <= _MOST_INTERVALS:
        check.fail(arguments[2], f"tseries() keeps 1 to {_MOST_INTERVALS} intervals, not {number}")
    way = text_of(check, arguments[3], "how tseries() puts values together") if len(arguments) > 3 else ""
    if way not in WAYS:
        check.fail(arguments[3], f"tseries() puts values together by {', '.join(filter(None, WAYS))}, not {way!r}")
    target, type_ = check.facts.target, check.place.type
    clock = "tai" if target.has_helper(type_, CLOCKS["tai"]) else default_clock(target, type_)
    signed = not isinstance(found, Integer) or (found.signed and not found.flexible)
    return Aggregate("tseries", signed, (interval, number, way, clock))


def aggregate(signature: str, text: str, find: Any) -> Function:
    """A row of a function that makes a map an aggregate."""
    return Function(signature, text, _never, _no_value, aggregate=find)


# maps


def _keyed(check: Checker, node: tree.Node, arguments: Arguments) -> MapFacts:
    """The map that a function is given, ``@x``, with a key or ``@x[key]``."""
    target = arguments[0]
    name = getattr(node, "name", "this")
    if isinstance(target, tree.MapAccess) and len(arguments) == 1:
        return check.map_key(target)
    if not isinstance(target, tree.Map):
        check.fail(target, f"{name}() takes a map and a key, as in {name}(@x, 1)")
    facts = check.facts.map(target)
    if len(arguments) == 1:
        return check.map_key(target)
    if facts.keyed is None:
        facts.keyed, check.facts.changed = True, True
    elif not facts.keyed:
        check.fail(target, f"@{facts.name} has no keys")
    key = arguments[1]
    check.give_key(facts, check.read(check.value(key)), key)
    return facts


def _keys(arguments: Arguments) -> list[tree.Expression]:
    target = arguments[0]
    if isinstance(target, tree.MapAccess):
        return target.keys
    return [arguments[1]] if len(arguments) > 1 else []  # type: ignore[list-item]


def _map_name(arguments: Arguments) -> str:
    target = arguments[0]
    assert isinstance(target, (tree.Map, tree.MapAccess))
    return target.name if isinstance(target, tree.Map) else target.map.name


def _check_delete(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    check.map_value(_keyed(check, node, arguments), arguments[0])
    return BOOL


def _delete(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    found, keys = gen.map(_map_name(arguments)), _keys(arguments)
    if not found.numbered:
        return Scalar(BOOL, delete_entry(gen, found, keys))
    # of a key there are many entries, which user space finds
    if found.key is None:
        gen.send(Action("clear", (), (found.name,)))
    else:
        gen.send(Action("delete", (found.key,), (found.name,)), [key_value(gen, keys, found.key)])
    return Scalar(BOOL, 1)


def _check_has(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    facts = _keyed(check, node, arguments)
    if facts.keyed is False:
        check.fail(arguments[0], f"@{facts.name} has no keys")
    kind = check.map_value(facts, arguments[0])
    if isinstance(kind, Aggregate) and kind.way in NUMBERED:
        check.fail(arguments[0], f"which keys a {kind.way}() has is for print() alone")
    return BOOL


def _has(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Scalar(BOOL, has_entry(gen, gen.map(_map_name(arguments)), _keys(arguments)))


ROWS = (
    aggregate("count()", "how often", _count),
    aggregate("sum(n)", "the sum of values", _of_value("sum")),
    aggregate("min(n)", "the smallest value", _of_value("min")),
    aggregate("max(n)", "the largest value", _of_value("max")),
    aggregate("avg(n)", "the average of values", _of_value("avg")),
    aggregate("stats(n)", "number, average and sum of values", _of_value("stats")),
    aggregate("hist(n, [bits])", "how many values by powers of two, each split into 2**bits", _hist),
    aggregate("lhist(n, min, max, step)", "how many values by steps", _lhist),
    aggregate("tseries(n, interval, number, [way])", "the last value of each interval of time, or by way their "
              "avg, max, min or sum", _series),
    Function("delete(map, [key])", "delete an entry; whether it was there", _check_delete, _delete),
    Function("has_key(map, [key])", "whether there is an entry", _check_has, _has),
)
