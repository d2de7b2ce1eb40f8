"""From the tree to types: of names, expressions, variables and maps; what makes no sense is refused here."""
