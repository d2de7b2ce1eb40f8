"""What a script says: tokens, tree, parser, attach points, canonical printer."""
