"""The builtins and functions of the language: one table; a file for each subject."""
