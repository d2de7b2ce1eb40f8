"""C++ names as GCC and Clang mangle them: the Itanium C++ ABI, chapter 5.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pybpf.symbols.demangle import expressions
from pybpf.symbols.demangle.limits import NotUnderstood
from pybpf.symbols.demangle.nodes import (
    NOTHING,
    Array,
    Conversion,
    Encoding,
    Expansion,
    Function,
    Joined,
    Lambda,
    Member,
    Name,
    Node,
    Pack,
    Parameter,
    Pointer,
    Printer,
    Qualified,
    Reference,
    Scoped,
    Seq,
    Standard,
    Structor,
    Tagged,
    Template,
    has_result,
    last_name,
)
from pybpf.symbols.demangle.reader import Reader, clones
from pybpf.symbols.demangle.tables import BUILTINS, D_BUILTINS, OPERATORS, QUALIFIERS, STANDARD

__all__ = ["Itanium", "demangle_itanium"]

_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def demangle_itanium(name: str) -> str:
    """The text of a name that starts with ``_Z``.

    :raises NotUnderstood: it is not one, or costs too much.
    """
    reader = Itanium(name)
    reader.expect("_Z")
    node = reader.encoding()
    copies = clones(reader)
    return Printer().text(node) + copies


class Itanium(Reader):
    """Reads a mangled name into nodes; a method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._seen: list[Node] = []
        #: inside the type of a conversion operator: template arguments that follow are the operator's
        self._in_conversion = False

    # functions, variables, and what compilers make for them

    def encoding(self, outermost: bool = True) -> Node:
        """A function with its type, a variable, or a special name."""
        self.budget.enter()
        saved, self._in_conversion = self._in_conversion, False
        node = self._special() if self.peek in ("T", "G") else self._function(outermost)
        self._in_conversion = saved
        self.budget.leave()
        return node

    def _function(self, outermost: bool) -> Node:
        name, qualifiers = self._name()
        if self.peek in ("", "E", "."):
            return name
        result = self.type() if has_result(name) else None
        parameters = self._until_type_end()
        suffix = Seq(qualifiers, self._requires()) if self.peek == "Q" else qualifiers
        return Encoding(name, Function(result if outermost else None, parameters, suffix))

    def _requires(self) -> Node:
        """A constraint, after ``Q``."""
        return Seq(" requires ", expressions.expression(self)) if self.accept("Q") else NOTHING

    def _until_type_end(self) -> list[Node]:
        """Types up to the end of an encoding or function type; ``void`` alone means none."""
        if self.peek == "v":
            self.at += 1
            return []
        nodes = [self.type()]
        while self.peek not in ("", "E", ".", "Q") and self.peek2 not in ("RE", "OE"):
            nodes.append(self.type())
        return nodes

    def _special(self) -> Node:
        code = self.take(2)
        if code not in _SPECIAL:
            raise NotUnderstood
        text, read = _SPECIAL[code]
        return Seq(text, read(self))

    def construction_vtable(self) -> Node:
        derived = self.type()
        self.number()
        self.expect("_")
        return Seq(self.type(), "-in-", derived)

    def reference_temporary(self) -> Node:
        name = self.name()
        number = self._sequence_number() if self.peek else 0
        return Seq(f"#{number} for ", name)

    def transaction_clone(self) -> Node:
        kind = self.take(1)
        return Seq("" if kind == "t" else "non-", "transaction clone for ", self.encoding())

    def _offset(self, virtual: bool) -> None:
        for _ in range(2 if virtual else 1):
            self.accept("n")
            self.number()
            self.expect("_")

    def call_offset(self) -> None:
        """How a thunk adjusts ``this``: nobody wants to read it."""
        kind = self.take(1)
        if kind not in "hv":
            raise NotUnderstood
        self._offset(kind == "v")

    def thunk(self, virtual: bool) -> Node:
        self._offset(virtual)
        return self.encoding()

    def covariant_thunk(self) -> Node:
        self.call_offset()
        self.call_offset()
        return self.encoding()

    # names

    def name(self) -> Node:
        """A name where nothing can come after its function's parameters."""
        return self._name()[0]

    def _name(self) -> tuple[Node, Node]:
        """A name, and what is written after its function's parameters (``const``, ``&``)."""
        if self.accept("N"):
            return self._nested()
        if self.accept("Z"):
            return self._local()
        return self._unscoped(), NOTHING

    def _unscoped(self) -> Node:
        if self.peek == "S" and self.peek2 != "St":
            name = self._substitution()
            if self.peek != "I":
                return name
        else:
            name = self._std_or_unqualified()
            if self.peek != "I":
                return name
            self._seen.append(name)
        return Template(name, self.template_arguments())

    def _std_or_unqualified(self) -> Node:
        if self.accept("St"):
            return Scoped(Name("std"), self._unqualified(None))
        return self._unqualified(None)

    def _nested(self) -> tuple[Node, Node]:
        qualifiers = self._qualifiers()
        suffix = "".join(f" {word}" for word in qualifiers)
        suffix += " &" if self.accept("R") else " &&" if self.accept("O") else ""
        scope: Node | None = None
        while not self.accept("E"):
            # neither std itself nor what is a substitution counts again
            counts = self.peek not in ("S", "M")
            scope = self._component(scope)
            if counts and self.peek != "E":
                self._seen.append(scope)
        if scope is None:
            raise NotUnderstood
        return scope, Name(suffix) if suffix else NOTHING

    def _component(self, scope: Node | None) -> Node:
        """The next part of a nested name, within ``scope``."""
        next_ = self.peek
        if next_ == "I":
            if scope is None:
                raise NotUnderstood
            return Template(scope, self.template_arguments())
        if scope is None:
            if self.accept("St"):
                return _STD
            if next_ == "S":
                return self._substitution()
            if next_ == "T":
                return self.template_parameter()
            if self.peek2 in ("Dt", "DT"):
                return self.type_without_memory()
        if next_ == "M":  # of a lambda in a data member's initialiser: the member was named before
            self.at += 1
            if scope is None:
                raise NotUnderstood
            return scope
        name = self._unqualified(scope)
        return name if scope is None else Scoped(scope, name)

    def _local(self) -> tuple[Node, Node]:
        """``Z function E name``: what is declared inside of a function."""
        function = self.encoding(outermost=False)
        self.expect("E")
        if self.accept("s"):
            self._discriminator()
            return Scoped(function, Name("string literal")), NOTHING
        if self.accept("d"):
            number = self.number() + 2 if self.peek.isdigit() else 1
            self.expect("_")
            name, qualifiers = self._name()
            return Scoped(function, Scoped(Name(f"{{default arg#{number}}}"), name)), qualifiers
        name, qualifiers = self._name()
        self._discriminator()
        return Scoped(function, name), qualifiers

    def _discriminator(self) -> None:
        """Which of several equal names in a function: not printed."""
        if self.accept("__"):
            self.number()
            self.expect("_")
        elif self.peek == "_" and self.text[self.at + 1 : self.at + 2].isdigit():
            self.at += 2

    def _unqualified(self, scope: Node | None) -> Node:
        self.accept("L")  # internal linkage
        next_ = self.peek
        if next_.isdigit():
            name: Node = self.source_name()
        elif next_ == "C" or (next_ == "D" and self.peek2 in _DESTRUCTORS):
            name = self._structor(scope)
        elif next_ == "U":
            name = self._unnamed()
        elif self.accept("DC"):
            parts = [self.source_name()]
            while not self.accept("E"):
                parts.append(self.source_name())
            name = Seq("[", Joined(parts), "]")
        else:
            name = self.operator_name()
        while self.accept("B"):
            name = Tagged(name, self.source_name())
        return name

    def source_name(self) -> Node:
        """``3foo``."""
        text = self.take(self.number())
        if text.startswith("_GLOBAL_") and text[8:10] in ("_N", ".N", "$N"):
            return Name("(anonymous namespace)")
        return Name(text)

    def _structor(self, scope: Node | None) -> Node:
        if scope is None:
            raise NotUnderstood
        code = self.take(2)
        if code == "CI":  # inherited from a base class, whose name it has
            self.take(1)
            scope = self.type()
        elif code not in _CONSTRUCTORS and code not in _DESTRUCTORS:
            raise NotUnderstood
        name = last_name(scope)
        if isinstance(name, Standard):
            name = Name(name.own)
        return Structor(name, "~" if code[0] == "D" else "")

    def _unnamed(self) -> Node:
        if self.accept("Ut"):
            return Name(f"{{unnamed type#{self._count()}}}")
        self.expect("Ul")
        head: list[tuple[Node, str]] = []
        while self.peek2 in _DECLARED:
            kind, letter = self._declaration()
            head.append((kind, f"${letter}{len(head)}"))
        parameters = self._until_type_end()
        suffix = self._requires()
        self.expect("E")
        return Lambda(head, parameters, suffix, self._count())

    def _declaration(self) -> tuple[Node, str]:
        """A template's parameter as it is declared: its kind, and what its made-up name starts with."""
        self.budget.enter()
        declared = _DECLARED.get(self.take(2))
        if declared is None:
            raise NotUnderstood
        kind, letter = declared(self)
        self.budget.leave()
        return kind, letter

    def declared_template(self) -> tuple[Node, str]:
        kinds = []
        while self.peek2 in _DECLARED:
            kinds.append(self._declaration()[0])
        self._requires()
        self.expect("E")
        return Seq("template<", Joined(kinds), "> class"), "TT"

    def declared_pack(self) -> tuple[Node, str]:
        kind, letter = self._declaration()
        return Seq(kind, "..."), letter

    def _count(self) -> int:
        """``_`` is 1, ``0_`` is 2."""
        number = self.number() + 2 if self.peek.isdigit() else 1
        self.expect("_")
        return number

    def operator_name(self) -> Node:
        """``operator+``, ``operator int``, ``operator"" _x``."""
        code = self.take(2)
        if code == "cv":
            saved, self._in_conversion = self._in_conversion, True
            type_ = self.type()
            self._in_conversion = saved
            return Conversion(type_)
        if code == "li":
            return Seq('operator"" ', self.source_name())
        if code[0] == "v" and code[1].isdigit():
            return Seq("operator ", self.source_name())
        if code not in OPERATORS:
            raise NotUnderstood
        text = OPERATORS[code][0].rstrip()
        return Name(f"operator {text}" if text[0].isalpha() else f"operator{text}")

    # templates and substitutions

    def template_arguments(self) -> list[Node]:
        """``I argument... E``."""
        self.expect("I")
        saved, self._in_conversion = self._in_conversion, False
        nodes = []
        while self.peek not in ("E", "Q"):
            nodes.append(self.template_argument())
        self._requires()  # not written, as it is not part of the name
        self.expect("E")
        self._in_conversion = saved
        return nodes

    def template_argument(self) -> Node:
        """A type, an expression, a constant, or a pack of them."""
        if self.peek2 in _DECLARED:  # where the argument alone does not tell which template is meant
            self._declaration()
        next_ = self.peek
        if next_ == "L":
            return expressions.literal(self)
        if self.accept("X"):
            node = expressions.expression(self)
            self.expect("E")
            return node
        if next_ == "J":
            self.at += 1
            self.budget.enter()
            nodes = []
            while not self.accept("E"):
                nodes.append(self.template_argument())
            self.budget.leave()
            return Pack(nodes)
        return self.type()

    def template_parameter(self) -> Node:
        """``T_``, ``T0_``."""
        self.expect("T")
        if self.accept("L"):  # of which of several lambdas around
            self.number()
            self.expect("_")
        return Parameter(self._count() - 1)

    def _substitution(self) -> Node:
        """``S_``, ``S0_``: what was named before; ``Ss`` and its like: names from the standard library."""
        self.expect("S")
        if self.peek in STANDARD:
            text, own = STANDARD[self.take(1)]
            return Standard(text, own)
        index = self._sequence_number()
        if index >= len(self._seen):
            raise NotUnderstood
        return self._seen[index]

    def _sequence_number(self) -> int:
        digits = self.digits(_BASE36)
        self.expect("_")
        if len(digits) > 6:
            raise NotUnderstood
        return int(digits, 36) + 1 if digits else 0

    # types

    def type(self) -> Node:
        """Any type; those that are not builtin can be referred to later."""
        self.budget.enter()
        at = self.at
        node = self.type_without_memory()
        if self._counts(at):
            self._seen.append(node)
        self.budget.leave()
        return node

    def _counts(self, start: int) -> bool:
        """Whether what was read from ``start`` can be substituted: builtins and substitutions themselves cannot."""
        first = self.text[start]
        if first in BUILTINS:
            return False
        if first == "D":
            return self.text[start + 1] not in D_BUILTINS and self.text[start + 1] not in "FBU"
        if first == "S" and self.text[start + 1] != "t":
            return self.text[self.at - 1] == "E"
        return True

    def type_without_memory(self) -> Node:
        """A type that is not remembered as a whole; its parts are."""
        next_ = self.peek
        if next_ in BUILTINS:
            self.at += 1
            return Name(BUILTINS[next_])
        if next_.isdigit() or next_ in ("N", "Z"):
            return self.name()
        if next_ == "S":
            return self.name() if self.peek2 == "St" else self._substituted()
        if next_ in QUALIFIERS:
            return self._qualified()
        if next_ not in _TYPE_FORMS:
            raise NotUnderstood
        self.at += 1
        return _TYPE_FORMS[next_](self)

    def _substituted(self) -> Node:
        node = self._substitution()
        return Template(node, self.template_arguments()) if self.peek == "I" else node

    def _qualifiers(self) -> list[str]:
        """Words in the order in which they are printed."""
        return [QUALIFIERS[code] for code in reversed(self.digits("rVK"))]

    def _qualified(self) -> Node:
        words = self._qualifiers()
        if self.peek == "F" or self.peek2 in ("Do", "DO", "Dw", "Dx"):
            # they are about this, and come after the parameters
            return self.function("".join(f" {word}" for word in words))
        node = self.type()
        for word in words:
            node = Qualified(node, word)
        return node

    def function(self, suffix: str = "") -> Node:
        """A function's type, after its qualifiers."""
        exception: Node = NOTHING
        while self.peek == "D":
            code = self.take(2)
            if code == "Do":
                exception = Name(" noexcept")
            elif code == "DO":
                exception = Seq(" noexcept(", expressions.expression(self), ")")
                self.expect("E")
            elif code == "Dw":
                exception = Seq(" throw(", Joined(self._types_to_end()), ")")
            elif code == "Dx":
                exception = Name(" transaction_safe")
            else:
                raise NotUnderstood
        self.expect("F")
        self.accept("Y")  # extern "C"
        result = self.type()
        parameters = self._until_type_end()
        suffix += " &" if self.accept("R") else " &&" if self.accept("O") else ""
        self.expect("E")
        return Function(result, parameters, Seq(suffix, exception))

    def _types_to_end(self) -> list[Node]:
        nodes = []
        while not self.accept("E"):
            nodes.append(self.type())
        return nodes

    def array(self) -> Node:
        size: str | Node = self.digits()
        if not size and self.peek != "_":
            size = expressions.expression(self)
        self.expect("_")
        return Array(self.type(), size)

    def member(self) -> Node:
        scope = self.type()
        return Member(scope, self.type())

    def parameter_type(self) -> Node:
        """``T_``, or with arguments of its own; ``Ts``, ``Tu``, ``Te``: struct, union, enum."""
        if self.peek in ("s", "u", "e"):
            self.at += 1
            return self.name()
        self.at -= 1
        node = self.template_parameter()
        if self.peek != "I" or self._in_conversion:
            return node
        self._seen.append(node)
        return Template(node, self.template_arguments())

    def vendor_qualified(self) -> Node:
        name = self.source_name()
        suffix: Node = Template(name, self.template_arguments()) if self.peek == "I" else name
        return Qualified(self.type(), suffix)

    def vendor_type(self) -> Node:
        name = self.source_name()
        return Template(name, self.template_arguments()) if self.peek == "I" else name

    def d_type(self) -> Node:
        """Types whose code starts with D."""
        code = self.take(1)
        if code in D_BUILTINS:
            return Name(D_BUILTINS[code])
        if code not in _D_FORMS:
            raise NotUnderstood
        return _D_FORMS[code](self)

    def decltype(self) -> Node:
        node = expressions.expression(self)
        self.expect("E")
        return Seq("decltype (", node, ")")

    def bare_function(self) -> Node:
        self.at -= 1
        return self.function()

    def function_with_exceptions(self) -> Node:
        self.at -= 2
        return self.function()

    def vector(self) -> Node:
        size: str | Node = self.digits()
        if not size:
            self.expect("_")
            size = expressions.expression(self)
        self.expect("_")
        return Qualified(self.type(), Seq("__vector(", size, ")"))

    def float_type(self) -> Node:
        bits = self.number()
        if self.accept("b"):
            return Name("std::bfloat16_t")
        extended = self.accept("x")
        if not extended:
            self.expect("_")
        return Name(f"_Float{bits}{'x' if extended else ''}")

    def bit_int(self, sign: str) -> Node:
        size: str | Node = self.digits() or expressions.expression(self)
        self.expect("_")
        return Seq(f"{sign}_BitInt(", size, ")")


_STD = Name("std")
_CONSTRUCTORS = frozenset(("C1", "C2", "C3", "C4", "C5"))
_DESTRUCTORS = frozenset(("D0", "D1", "D2", "D4", "D5"))
#: what compilers make for a type, a variable or a function: what is written before it, and how to read it
_SPECIAL: Mapping[str, tuple[str, Callable[[Itanium], Node]]] = {
    "GA": ("hidden alias for ", Itanium.encoding),
    "GR": ("reference temporary ", Itanium.reference_temporary),
    "GT": ("", Itanium.transaction_clone),
    "GV": ("guard variable for ", Itanium.name),
    "TA": ("template parameter object for ", Itanium.template_argument),
    "TC": ("construction vtable for ", Itanium.construction_vtable),
    "TH": ("TLS init function for ", Itanium.name),
    "TI": ("typeinfo for ", Itanium.type),
    "TS": ("typeinfo name for ", Itanium.type),
    "TT": ("VTT for ", Itanium.type),
    "TV": ("vtable for ", Itanium.type),
    "TW": ("TLS wrapper function for ", Itanium.name),
    "Tc": ("covariant return thunk to ", Itanium.covariant_thunk),
    "Th": ("non-virtual thunk to ", lambda reader: reader.thunk(virtual=False)),
    "Tv": ("virtual thunk to ", lambda reader: reader.thunk(virtual=True)),
}
_TYPE_FORMS: Mapping[str, Callable[[Itanium], Node]] = {
    "A": Itanium.array,
    "C": lambda reader: Qualified(reader.type(), "_Complex"),
    "D": Itanium.d_type,
    "F": Itanium.bare_function,
    "G": lambda reader: Qualified(reader.type(), "_Imaginary"),
    "M": Itanium.member,
    "O": lambda reader: Reference(reader.type(), "&&"),
    "P": lambda reader: Pointer(reader.type()),
    "R": lambda reader: Reference(reader.type(), "&"),
    "T": Itanium.parameter_type,
    "U": Itanium.vendor_qualified,
    "u": Itanium.vendor_type,
}
#: declarations of template parameters
_DECLARED: Mapping[str, Callable[[Itanium], tuple[Node, str]]] = {
    "Tk": lambda reader: (reader.name(), "T"),
    "Tn": lambda reader: (reader.type(), "N"),
    "Tp": Itanium.declared_pack,
    "Tt": Itanium.declared_template,
    "Ty": lambda reader: (Name("typename"), "T"),
}
_D_FORMS: Mapping[str, Callable[[Itanium], Node]] = {
    "B": lambda reader: reader.bit_int("signed "),
    "K": lambda reader: Seq(reader.name(), " decltype(auto)"),
    "F": Itanium.float_type,
    "O": Itanium.function_with_exceptions,
    "T": Itanium.decltype,
    "U": lambda reader: reader.bit_int("unsigned "),
    "k": lambda reader: Seq(reader.name(), " auto"),
    "o": Itanium.function_with_exceptions,
    "p": lambda reader: Expansion(reader.type()),
    "t": Itanium.decltype,
    "v": Itanium.vector,
    "w": Itanium.function_with_exceptions,
    "x": Itanium.function_with_exceptions,
}
