"""From the syntax tree of a Python function to IR: names, statements, expressions, loops, functions, refusals."""
