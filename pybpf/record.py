"""Classes with fields, as :mod:`dataclasses` and ``typing.NamedTuple`` make them, without their cost at import.

``dataclasses.dataclass`` compiles text for each class, for a quarter to half a millisecond, and imports ``inspect``:
with the hundred classes of a compiler that is a third of the time until a script runs. Here all classes share a few
functions. What others do with dataclasses (``dataclasses.replace``, ``fields``, ``asdict``, ``inspect.signature``)
works: what they ask for is made then. ``typing.NamedTuple`` compiles each annotation and a function for each class;
here annotations stay text, and the functions are copies of those below with other names of parameters.
"""

from __future__ import annotations

from collections import _tuplegetter  # type: ignore[attr-defined]  # what namedtuple's fields are
from collections.abc import Sequence
from operator import attrgetter
from reprlib import recursive_repr
from types import FunctionType
from typing import TYPE_CHECKING, Any

_MISSING: Any = object()
_put = object.__setattr__
_tuple = tuple.__new__

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
    from typing import NamedTuple
else:

    def dataclass(cls=None, *, eq=True, frozen=False, order=False):
        """Give a class the methods of a dataclass; fields are the annotated names, those of bases come first."""
        if cls is None:
            return lambda found: _make(found, eq, frozen, order)
        return _make(cls, eq, frozen, order)

    def field(*, default=_MISSING, default_factory=None, compare=True):
        """What is to be known of a field beside its annotation."""
        return _Field("", None, default, default_factory, compare)

    def replace(record, **changes):
        """A copy with other values in some fields."""
        for each in record.__record_fields__:
            if each.name not in changes:
                changes[each.name] = getattr(record, each.name)
        return type(record)(**changes)

    class _Naming(type):
        """The class of :class:`NamedTuple` alone: a class made from it is a tuple, and an ordinary class."""

        def __new__(mcs, name, bases, namespace):
            if not bases:
                return super().__new__(mcs, name, bases, namespace)
            return type(name, (tuple, *bases[1:]), _named(name, namespace))

    class NamedTuple(metaclass=_Naming):
        """What ``typing.NamedTuple`` is."""


__all__ = ["NamedTuple", "dataclass", "field", "field_names", "replace"]


#: by the number of fields, what makes a named tuple
_MAKERS: tuple[Any, ...] = (
    lambda cls: _tuple(cls, ()),
    lambda cls, a: _tuple(cls, (a,)),
    lambda cls, a, b: _tuple(cls, (a, b)),
    lambda cls, a, b, c: _tuple(cls, (a, b, c)),
    lambda cls, a, b, c, d: _tuple(cls, (a, b, c, d)),
    lambda cls, a, b, c, d, e: _tuple(cls, (a, b, c, d, e)),
    lambda cls, a, b, c, d, e, f: _tuple(cls, (a, b, c, d, e, f)),
    lambda cls, a, b, c, d, e, f, g: _tuple(cls, (a, b, c, d, e, f, g)),
    lambda cls, a, b, c, d, e, f, g, h: _tuple(cls, (a, b, c, d, e, f, g, h)),
)


def _named(name: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """The namespace of a named tuple, of the one that the class statement has."""
    kinds = namespace.get("__annotations__", {})
    fields = tuple(kinds)
    defaults = {each: namespace[each] for each in fields if each in namespace}
    if tuple(defaults) != fields[len(fields) - len(defaults) :]:
        raise TypeError(f"{name}: a field without a default follows one that has it")
    made: dict[str, Any] = {
        "__slots__": (),
        "__new__": _maker(fields, tuple(defaults.values()), namespace),
        "__match_args__": fields,
        "__repr__": _repr_named,
        "__getnewargs__": lambda self: tuple(self),
        "_fields": fields,
        "_field_defaults": defaults,
        "_make": classmethod(_make_named),
        "_replace": _replace_named,
        "_asdict": lambda self: dict(zip(self._fields, self)),
    }
    made.update((each, _tuplegetter(index, f"Field {index}.")) for index, each in enumerate(fields))
    return {**made, **{each: value for each, value in namespace.items() if each not in defaults}}


def _maker(fields: tuple[str, ...], defaults: tuple[Any, ...], namespace: dict[str, Any]) -> Any:
    if len(fields) < len(_MAKERS):
        code = _MAKERS[len(fields)].__code__.replace(co_varnames=("_cls", *fields), co_name="__new__")
    else:
        names = ", ".join(fields)
        code = eval(f"lambda _cls, {names}: _tuple(_cls, ({names}))").__code__.replace(co_name="__new__")
    made = FunctionType(code, {"_tuple": _tuple, "__name__": namespace["__module__"]}, "__new__", defaults)
    made.__qualname__ = f"{namespace['__qualname__']}.__new__"
    return made


def _make_named(cls: Any, values: Any) -> Any:
    made = _tuple(cls, values)
    if len(made) != len(cls._fields):
        raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
    return made


def _repr_named(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in zip(self._fields, self))})"


def _replace_named(self: Any, **changes: Any) -> Any:
    made = self._make(map(changes.pop, self._fields, self))
    if changes:
        raise ValueError(f"Got unexpected field names: {list(changes)!r}")
    return made


class _Field(NamedTuple):
    """A field: its annotation, its default or what makes one, whether it counts for equality."""

    name: str
    type: Any
    default: Any
    factory: Any
    compare: bool


def field_names(record: Any) -> tuple[str, ...]:
    """The names of the fields of a class or object that :func:`dataclass` has made."""
    names: tuple[str, ...] = record.__match_args__
    return names


def _make(cls: Any, eq: bool, frozen: bool, order: bool) -> Any:
    fields = tuple(_fields(cls).values())
    own = vars(cls)
    cls.__record_fields__ = fields
    cls.__record_frozen__ = frozen
    setattr(cls, "__match_args__", tuple(each.name for each in fields))  # noqa: B010 - mypy lets nobody assign to it
    cls.__dataclass_fields__ = _Asked(lambda found: _real(found).__dataclass_fields__)
    cls.__dataclass_params__ = _Asked(lambda found: _real(found).__dataclass_params__)
    if "__init__" not in own:
        cls.__init__ = _init(fields, hasattr(cls, "__post_init__"))
        cls.__signature__ = _Signature(cls.__init__)
    if "__repr__" not in own:
        cls.__repr__ = _repr
    if eq:
        key = _key([each.name for each in fields if each.compare])
        hashed = "__hash__" in own and not ("__eq__" in own and own["__hash__"] is None)
        if "__eq__" not in own:
            cls.__eq__ = _equal(key)
        if not hashed:
            cls.__hash__ = (lambda self: hash(key(self))) if frozen else None
        if order:
            _order(cls, key)
    if frozen:
        cls.__setattr__, cls.__delattr__ = _refuse, _refuse
    return cls


def _fields(cls: Any) -> dict[str, _Field]:
    """Name -> field; an own one takes the place that a base gave it."""
    found: dict[str, _Field] = {}
    for base in cls.__mro__[:0:-1]:
        found.update((each.name, each) for each in vars(base).get("__record_fields__", ()))
    for name, kind in vars(cls).get("__annotations__", {}).items():
        if str(kind).startswith(("ClassVar", "typing.ClassVar")):
            continue
        default = vars(cls).get(name, _MISSING)
        made = default._replace(name=name, type=kind) if isinstance(default, _Field) else None
        found[name] = made or _Field(name, kind, default, None, True)
        if made is not None and made.default is _MISSING:
            delattr(cls, name)
        elif made is not None:
            setattr(cls, name, made.default)
    return found


def _init(fields: tuple[_Field, ...], then: bool) -> Any:
    names = tuple(each.name for each in fields)
    count = len(fields)

    def __init__(self: Any, *given: Any, **named: Any) -> None:
        values = _complete(type(self), fields, given, named) if named or len(given) != count else given
        for name, value in zip(names, values):
            _put(self, name, value)
        if then:
            self.__post_init__()

    return __init__


def _complete(cls: Any, fields: tuple[_Field, ...], values: Sequence[Any], named: dict[str, Any]) -> Sequence[Any]:
    """The values of all fields, of what was given by position and by name, and defaults."""
    if len(values) > len(fields):
        raise TypeError(f"{cls.__name__}() takes {len(fields)} values but {len(values)} were given")
    found = list(values)
    for each in fields[len(values) :]:
        if each.name in named:
            found.append(named.pop(each.name))
        elif each.factory is not None:
            found.append(each.factory())
        elif each.default is not _MISSING:
            found.append(each.default)
        else:
            raise TypeError(f"{cls.__name__}() wants a value for {each.name!r}")
    if named:
        name = next(iter(named))
        twice = name in {each.name for each in fields}
        raise TypeError(f"{cls.__name__}() got {'two values for' if twice else 'an unknown field'} {name!r}")
    return found


def _key(names: list[str]) -> Any:
    """What gives the values that count, as a tuple."""
    if not names:
        return lambda self: ()
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda self: (get(self),)


def _equal(key: Any) -> Any:
    def __eq__(self: Any, other: object) -> Any:
        return key(self) == key(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _order(cls: Any, key: Any) -> None:
    def compare(name: str) -> Any:
        def method(self: Any, other: object) -> Any:
            return getattr(key(self), name)(key(other)) if type(other) is type(self) else NotImplemented

        return method

    for name in ("__lt__", "__le__", "__gt__", "__ge__"):
        setattr(cls, name, compare(name))


@recursive_repr()
def _repr(self: Any) -> str:
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{type(self).__qualname__}({values})"


def _refuse(self: Any, name: str, value: object = None) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to or delete field {name!r}")


class _Asked:
    """An attribute of a class that is made when it is asked for."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __get__(self, instance: object, owner: Any) -> Any:
        return self._make(owner)


class _Signature:
    """What ``inspect.signature`` asks a class for; None: a subclass has an ``__init__`` of its own."""

    def __init__(self, method: Any) -> None:
        self._method = method

    def __get__(self, instance: object, owner: Any) -> Any:
        if instance is not None or owner.__init__ is not self._method:
            return None
        from inspect import signature

        return signature(_real(owner))


def _real(cls: Any) -> Any:
    """A dataclass with the same fields."""
    import dataclasses

    fields = []
    for each in cls.__record_fields__:
        options = {"compare": each.compare}
        if each.factory is not None:
            options["default_factory"] = each.factory
        elif each.default is not _MISSING:
            options["default"] = each.default
        fields.append((each.name, each.type, dataclasses.field(**options)))
    return dataclasses.make_dataclass(cls.__name__, fields, frozen=cls.__record_frozen__)
