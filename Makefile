# make zipapp: dist/pybpf.pyz, one file that runs every tool on a host with nothing but Python
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

.PHONY: zipapp test

zipapp:
	$(PYTHON) release/zipapp.py $(OUTPUT)

test:
	./test
