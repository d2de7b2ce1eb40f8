"""A script that runs: loaded, attached, its records acted on, its maps read."""
