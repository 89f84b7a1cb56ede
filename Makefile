# Everything runs from a fresh clone: each target sets up what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test fuzz contract mutations check gpu-check gpu-test gpu-bench bench docs wheel try-wheel clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true # on all cores, where pip uses one
	touch $@

demo: .venv/installed ## surnames of 18 languages with an RNN, an LSTM and a GRU, then parts of speech; reports in runs/
	$(BIN)/anyrnn train classify --data examples/surnames/surnames.csv --text surname --label language \
	    --cell rnn --cell lstm --cell gru --output runs/demo --overwrite
	$(BIN)/anyrnn train tag --data examples/tagging/ewt.conll --cell gru --hidden-size 64 --character-size 32 \
	    --learning-rate 0.01 --schedule cosine --epochs 6 --output runs/ewt --overwrite
	$(BIN)/anyrnn predict runs/ewt "The old man the boats , and we walk along the walk ."

test: export PYTHONDONTWRITEBYTECODE = # modules are compiled once, not in each of many processes
test: .venv/installed ## all tests
	$(BIN)/pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder

fuzz: .venv/installed ## compile N random cells from part FIRST on, compare them with the interpreter
	$(BIN)/python tests/fuzz.py $(or $(N),1000) --first $(or $(FIRST),0)

contract: .venv/installed ## every cell on every kind of CPU in both types; with every pair of transforms (CELLS="lstm gru": some)
	ANYRNN_EVERY_PAIR=1 ANYRNN_OPTIMISE=on $(BIN)/pytest --numprocesses 2 tests/kernels/test_compiled_contract.py
	$(BIN)/python tests/contract.py $(CELLS)

mutations: .venv/installed ## break lines of the product one at a time: a test must fail for each
	$(BIN)/python tests/mutations.py $(WORDS)

check: .venv/installed ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

gpu-check: .venv/installed ## GPU kernels in Triton's interpreter, and compiled for GPUs that are not there (CELLS="lstm gru": some)
	$(BIN)/pytest --numprocesses 2 tests/kernels/test_gpu*.py
	TRITON_INTERPRET=0 $(BIN)/python tests/gpu_check.py $(CELLS)

gpu-test: .venv/installed ## GPU kernels on a GPU: numbers, races, streams, autocast, graphs
	TRITON_INTERPRET=0 $(BIN)/pytest -rs tests/kernels/test_on_gpu.py || [ $$? = 5 ] # no test without a GPU

gpu-bench: .venv/installed ## our layers on a GPU beside cuDNN, torch.compile, FlashRNN and TorchRL; a table and runs/gpu-bench.json
	TRITON_INTERPRET=0 $(BIN)/python -m benchmarks.gpu

bench: .venv/installed ## our layers beside those of torch, JAX, Keras, ONNX Runtime; tables in README and docs/benchmarks.md
	-$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks

docs: .venv/installed ## the documents as a site, in docs/_build; in Chinese in docs/_build/zh
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python docs/options_page.py
	$(BIN)/anyrnn study --results docs/studies/cells.json --pages docs
	$(BIN)/sphinx-build -W -b html -d docs/_build/.doctrees/en docs docs/_build
	$(BIN)/sphinx-build -W -b html -d docs/_build/.doctrees/zh -t zh docs docs/_build/zh

wheel: ## the package as a wheel, in dist
	rm -f dist/anyrnn-*.whl
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

try-wheel: wheel ## install the wheel in an empty environment and use it there; EXTRAS="keras tasks speech pictures": with extras
	$(PYTHON) tests/try_wheel.py $(EXTRAS)

clean:
	rm -rf .venv docs/_build dist runs
