"""A tree as text: the one canonical way to write a script, which reads back as the same tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pybpf.bt.syntax import tree
from pybpf.bt.syntax.literals import quote
from pybpf.bt.syntax.tokens import BINARY

__all__ = ["expression_text", "script_text", "type_text"]

_INDENT = "    "
#: How strongly what is not a binary operator binds.
_CONDITIONAL = 0
_UNARY = 11
_POSTFIX = 12


def script_text(script: tree.Script) -> str:
    """The canonical text of a script. Macros, functions and maps come before probes."""
    top = [script.header] if script.header else []
    top += [each.text for each in script.c_text]
    if script.settings:
        lines = [f"{_INDENT}{each.name} = {_setting(each.value)};" for each in script.settings]
        top.append("\n".join(["config = {", *lines, "}"]))
    top += [_statement(each, "") for each in script.imports]
    top += [f"let @{each.map.name} = {each.kind}({each.entries});" for each in script.maps]
    items = ["\n".join(top)] if top else []
    items += [f"macro {each.name}({', '.join(map(expression_text, each.parameters))})\n{_block(each.body, '')}"
              for each in script.macros]  # fmt: skip
    items += map(_function, script.functions)
    items += map(_probe, script.probes)
    return "\n\n".join(items) + "\n"


def expression_text(node: tree.Expression | tree.TypeOf) -> str:
    """The canonical text of an expression."""
    return _expression(node, "")


def type_text(node: tree.Type) -> str:
    """The canonical text of a type."""
    suffixes = []
    while isinstance(node, (tree.PointerType, tree.ArrayType)):
        if isinstance(node, tree.PointerType):
            suffixes.append("*")
            node = node.target
        else:
            suffixes.append(f"[{'' if node.length is None else node.length}]")
            node = node.item
    if isinstance(node, tree.TypeOf):
        return f"typeof({_operand(node.operand, '')})"
    name = node.name if isinstance(node, tree.NamedType) else f"{node.keyword} {node.name}"
    suffix = "".join(reversed(suffixes))
    return name + (" " if suffix.startswith("*") else "") + suffix


def _setting(value: int | bool | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else quote(value)


def _function(node: tree.Function) -> str:
    parameters = ", ".join(f"${variable.name}: {type_text(kind)}" for variable, kind in node.parameters)
    return f"fn {node.name}({parameters}): {type_text(node.returns)}\n{_block(node.body, '')}"


def _probe(node: tree.Probe) -> str:
    predicate = f"\n/{_expression(node.predicate, '')}/" if node.predicate is not None else ""
    return ",\n".join(map(_point, node.points)) + predicate + "\n" + _block(node.body, "")


def _point(node: tree.ProbePoint) -> str:
    # one that stands for several kinds stays as it is
    known = node.points is not None and not node.points[0].optional
    text = node.points[0].text if known and node.points else node.text
    return f"{node.name}={text}" if node.name else text


def _block(node: tree.Block, indent: str) -> str:
    if not node.statements and node.value is None:
        return "{ }" if indent else "{\n}"
    deeper = indent + _INDENT
    lines = [deeper + _statement(each, deeper) for each in node.statements]
    if node.value is not None:
        lines.append(deeper + _expression(node.value, deeper))
    return "\n".join(["{", *lines, indent + "}"])


# Statements


def _statement(node: tree.Statement, indent: str) -> str:
    return _STATEMENTS[type(node)](node, indent)


def _evaluate(node: tree.Evaluate, indent: str) -> str:
    return _expression(node.value, indent) + ("" if isinstance(node.value, (tree.If, tree.Block)) else ";")


def _assign(node: tree.Assign, indent: str) -> str:
    return f"{_expression(node.target, indent)} {node.operator}= {_expression(node.value, indent)};"


def _declare(node: tree.Declare, indent: str) -> str:
    kind = f": {type_text(node.type)}" if node.type is not None else ""
    value = f" = {_expression(node.value, indent)}" if node.value is not None else ""
    return f"let ${node.variable.name}{kind}{value};"


def _return(node: tree.Return, indent: str) -> str:
    return "return;" if node.value is None else f"return {_expression(node.value, indent)};"


def _for(node: tree.For, indent: str) -> str:
    over = node.iterable
    text = f"@{over.name}" if isinstance(over, tree.Map) else (
        f"{_expression(over.start, indent)}..{_expression(over.end, indent)}"
    )  # fmt: skip
    return f"for (${node.variable.name} : {text}) {_block(node.body, indent)}"


_STATEMENTS: dict[type, Callable[[Any, str], str]] = {
    tree.Evaluate: _evaluate,
    tree.Discard: lambda node, indent: f"_ = {_expression(node.value, indent)};",
    tree.Assign: _assign,
    tree.Declare: _declare,
    tree.While: lambda node, indent: f"while ({_expression(node.condition, indent)}) {_block(node.body, indent)}",
    tree.Unroll: lambda node, indent: f"unroll ({_expression(node.count, indent)}) {_block(node.body, indent)}",
    tree.For: _for,
    tree.Break: lambda node, indent: "break;",
    tree.Continue: lambda node, indent: "continue;",
    tree.Return: _return,
    tree.Import: lambda node, indent: f"import {quote(node.path)};",
}


# Expressions


def _expression(node: tree.Expression | tree.TypeOf, indent: str, strength: int = _CONDITIONAL) -> str:
    """The text of an expression, in parentheses where it binds less strongly than its place needs."""
    writer, own = _EXPRESSIONS[type(node)]
    if isinstance(node, tree.Binary):
        own = BINARY[node.operator]
    text = writer(node, indent)
    return f"({text})" if own < strength else text


def _conditional(node: tree.Conditional, indent: str) -> str:
    condition = _expression(node.condition, indent, 1)
    otherwise = _expression(node.otherwise, indent)
    if node.then is None:
        return f"{condition} ?: {otherwise}"
    return f"{condition} ? {_expression(node.then, indent)} : {otherwise}"


def _binary(node: tree.Binary, indent: str) -> str:
    own = BINARY[node.operator]
    return f"{_expression(node.left, indent, own)} {node.operator} {_expression(node.right, indent, own + 1)}"


def _unary(node: tree.Unary, indent: str) -> str:
    operand = _expression(node.operand, indent, _UNARY)
    space = " " if operand[0] == node.operator and node.operator in "-&" else ""  # "--x" would step
    return node.operator + space + operand


def _step(node: tree.Step, indent: str) -> str:
    target = _expression(node.target, indent, _POSTFIX)
    return node.operator + target if node.prefix else target + node.operator


def _cast(node: tree.Cast, indent: str) -> str:
    return f"({type_text(node.type)}){_expression(node.value, indent, _UNARY)}"


def _list(items: list[Any], indent: str) -> str:
    return ", ".join(_expression(each, indent) for each in items)


def _tuple(node: tree.Tuple, indent: str) -> str:
    return f"({_list(node.items, indent)}{',' if len(node.items) == 1 else ''})"


def _record(node: tree.Record, indent: str) -> str:
    return f"({', '.join(f'{name} = {_expression(value, indent)}' for name, value in node.fields)})"


def _operand(node: tree.Type | tree.Expression, indent: str) -> str:
    if isinstance(node, (tree.NamedType, tree.CompoundType, tree.PointerType, tree.ArrayType, tree.TypeOf)):
        return type_text(node)
    return _expression(node, indent)


def _if(node: tree.If, indent: str) -> str:
    arms = [f"if ({_expression(condition, indent)}) {_block(block, indent)}" for condition, block in node.arms]
    if node.otherwise is not None:
        arms.append(_block(node.otherwise, indent))
    return " else ".join(arms)


def _after(node: Any, indent: str) -> str:
    """What ``.``, ``->``, ``[]`` and ``()`` follow."""
    return _expression(node.value, indent, _POSTFIX)


#: class -> (writer, how strongly the text binds)
_EXPRESSIONS: dict[type, tuple[Callable[[Any, str], str], int]] = {
    tree.Integer: (lambda node, indent: node.text, _POSTFIX),
    tree.String: (lambda node, indent: quote(node.value), _POSTFIX),
    tree.Boolean: (lambda node, indent: "true" if node.value else "false", _POSTFIX),
    tree.Name: (lambda node, indent: node.name, _POSTFIX),
    tree.Variable: (lambda node, indent: f"${node.name}", _POSTFIX),
    tree.Map: (lambda node, indent: f"@{node.name}", _POSTFIX),
    tree.MapAccess: (lambda node, indent: f"@{node.map.name}[{_list(node.keys, indent)}]", _POSTFIX),
    tree.Parameter: (lambda node, indent: f"${node.index}", _POSTFIX),
    tree.ParameterCount: (lambda node, indent: "$#", _POSTFIX),
    tree.Unary: (_unary, _UNARY),
    tree.Step: (_step, _UNARY),
    tree.Binary: (_binary, 0),
    tree.Conditional: (_conditional, _CONDITIONAL),
    tree.Field: (lambda node, indent: f"{_after(node, indent)}{'->' if node.arrow else '.'}{node.name}", _POSTFIX),
    tree.Element: (lambda node, indent: f"{_after(node, indent)}.{node.index}", _POSTFIX),
    tree.Index: (lambda node, indent: f"{_after(node, indent)}[{_expression(node.index, indent)}]", _POSTFIX),
    tree.Call: (lambda node, indent: f"{node.name}({_list(node.arguments, indent)})", _POSTFIX),
    tree.MethodCall: (
        lambda node, indent: f"{_after(node, indent)}.{node.name}({_list(node.arguments, indent)})",
        _POSTFIX,
    ),
    tree.Cast: (_cast, _UNARY),
    tree.SizeOf: (lambda node, indent: f"sizeof({_operand(node.operand, indent)})", _POSTFIX),
    tree.OffsetOf: (
        lambda node, indent: f"offsetof({_operand(node.operand, indent)}, {'.'.join(node.path)})",
        _POSTFIX,
    ),
    tree.TypeInfo: (lambda node, indent: f"typeinfo({_operand(node.operand, indent)})", _POSTFIX),
    tree.TypeOf: (lambda node, indent: type_text(node), _POSTFIX),
    tree.Comptime: (lambda node, indent: f"comptime {_expression(node.value, indent, _UNARY)}", _UNARY),
    tree.Tuple: (_tuple, _POSTFIX),
    tree.Record: (_record, _POSTFIX),
    tree.Block: (_block, _CONDITIONAL),
    tree.If: (_if, _CONDITIONAL),
}
