"""The bundled tracers, one file each: ``pybpf NAME`` runs ``pybpf.programs.NAME``."""
