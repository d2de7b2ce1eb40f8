"""What must hold when things go wrong: hostile input, sudden death, overload, missing privileges."""
