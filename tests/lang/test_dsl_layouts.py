"""Structs of all shapes: what probes write and read is what Python packs and unpacks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybpf.lang.state.maps import Array
from pybpf.types import Struct, StructLayout, array_of, bool_, char, layout, s8, s16, s32, s64, u8, u16, u32, u64
from pybpf.types.layout import BoolLayout, CharsLayout, IntLayout
from pybpf.types.scalars import ElementType
from tests.lang import harness
from tests.lang.sharing import Shared

shared = Shared()


def struct(fields: list[Any], packed: bool) -> Any:
    named = {f"f{number}": kind for number, kind in enumerate(fields)}
    return ElementType("S", (Struct,), {"__annotations__": named, "__module__": __name__}, packed=packed)


scalars = st.sampled_from([u8, u16, u32, u64, s8, s16, s32, s64, bool_])
leaves = scalars | st.builds(array_of, scalars | st.just(char), st.integers(1, 5))
structs = st.builds(struct, st.lists(leaves, min_size=1, max_size=4), st.booleans())
kinds = st.builds(
    struct,
    st.lists(leaves | structs | st.builds(array_of, structs, st.integers(1, 3)), min_size=1, max_size=5),
    st.booleans(),
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type."""
    found = layout(kind)
    if isinstance(found, BoolLayout):
        return st.booleans()
    if isinstance(found, IntLayout):
        return st.integers(found.minimum, found.maximum)
    if isinstance(found, CharsLayout):
        return st.text("ab", max_size=found.size)
    if isinstance(found, StructLayout):
        return st.tuples(*(values(field.kind) for field in found.fields.values())).map(lambda each: kind(*each))
    if kind.element is u8:
        return st.binary(min_size=kind.length, max_size=kind.length)
    return st.tuples(*[values(kind.element)] * kind.length)


def integers(kind: Any, path: str = "") -> list[str]:
    """How a probe writes each integer of a struct, as assignments go through them."""
    found = layout(kind)
    if isinstance(found, (IntLayout, BoolLayout)):
        return [path]
    if isinstance(found, StructLayout):
        return [each for field in found.fields.values() for each in integers(field.kind, f"{path}.{field.name}")]
    if isinstance(found, CharsLayout) or kind.element is u8:
        return []
    return [each for index in range(kind.length) for each in integers(kind.element, f"{path}[{index}]")]


TEXT = """def probe(flag: u64):
    box[0] = value
    local = S({fields})
    box[1] = local
    copy: S = S()
{copies}
    box[2] = copy
    differ = 0
    if local != value:
        differ += 1
    if box[1] != local:
        differ += 2
    where = box[3 + flag]
    if where is not None:
{changes}
    return differ
"""


@pytest.mark.root
def test_layouts_agree() -> None:
    @settings(
        max_examples=min(60, settings.default.max_examples), deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(kinds, st.data())
    def same(kind: Any, data: Any) -> None:
        value = data.draw(values(kind))
        fields = layout(kind).fields  # type: ignore[attr-defined]
        paths = integers(kind)
        text = TEXT.format(
            fields=", ".join(f"{name}=value.{name}" for name in fields),
            copies="\n".join(f"    copy{path} = local{path}" for path in paths) or "    pass",
            changes="\n".join(f"        where{path} = box[0]{path}" for path in paths) or "        pass",
        )
        box = Array(kind, 4, shared.counts, "box")
        names: dict[str, Any] = {"box": box, "value": value, "S": kind, "u64": u64}
        exec(compile(text, "<layouts>", "exec"), names)
        with harness.load(names["probe"], source=text) as program:
            box.bind(program.maps["box"])
            assert program(0) == 0
            raw = [layout(kind).pack(box[index]) for index in range(4)]
            assert raw[0] == layout(kind).pack(value) == raw[1]
            for index in (2, 3):
                for path in paths:
                    assert eval(f"one{path} == two{path}", {"one": box[index], "two": value}), path

    same()


class Odd(Struct, packed=True):
    """Nothing is aligned."""

    tag: u8
    many: s32[3]  # type: ignore[type-arg]


@pytest.mark.root
def test_arrays_of_numbers_in_packed_structs() -> None:
    def probe(number: s32) -> s64:
        odd = Odd(tag=1, many=[number, 2, number])
        odd.many = [odd.many[2] + 1, 7, number]
        odd.many[number & 1] += 5
        return odd.many[0] * 100 + odd.many[1] * 10 + odd.many[-1]

    assert harness.run(probe, -3, signed=True) == -200 + 120 - 3


@pytest.mark.root
def test_structs_of_more_fields_than_there_are_places_for_values() -> None:
    kind = struct([u64, u8] * 45, packed=False)
    box = Array(kind, 2, shared.counts, "box")

    def probe(number: u64) -> u64:
        one = kind(f0=number, f89=7)
        box[0] = one
        other: kind = box[0]  # type: ignore[valid-type]
        other.f44 = 5
        box[1] = other
        return (one == box[0]) + 2 * (other == box[1]) + 4 * (one == other)

    assert harness.run(probe, 9) == 3
