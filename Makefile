# MT-EmotiEffNet suite. `make` lists the commands.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready

# $(call key,NAME,VARIABLE): NAME='text' for the shell, if the variable is set. The text is taken as it was given, with
# blanks, colons, quotes and dollar signs; the variables stay out of the environment, for which make would expand them.
key = $(if $(value $(2)),$(1)='$(subst ','\'',$(value $(2)))')
unexport DATA RECIPE BACKBONE WEIGHTS SR_WEIGHTS SOURCE RUN HEADS

# DATA=/path/to/set runs the paper's recipe on it; without it, the demo recipe on the embedded drawn faces.
DEFAULT_RECIPE = $(if $(value DATA),paper,demo)
OPTIONS = $(or $(call key,recipe,RECIPE),recipe=$(DEFAULT_RECIPE)) $(call key,data.root,DATA) $(ARGS)

# The network that stages 2 and 3 take without BACKBONE=; made by stage 1 on demo data if it is missing. A file that
# BACKBONE= names is no target: the command checks that it is there.
DEFAULT_BACKBONE := runs/pretrain/latest/backbone.safetensors
BACKBONE_FILE = $(if $(value BACKBONE),,$(DEFAULT_BACKBONE))
ON_BACKBONE = $(OPTIONS) $(or $(call key,backbone,BACKBONE),backbone=$(DEFAULT_BACKBONE))

# $(call without,VARIABLE): stops if a variable is set that the command would ignore.
without = $(if $(value $(1)),$(error $(1)= has no meaning for `make $@`; see `make help`))

.PHONY: help setup lint format test test-slow mutation bench sheets dashboard clean demo demo-seeds faces pretrain
.PHONY: mtl mtl-submit mtl-ablation mtl-baseline synthetic synthetic-submit synthetic-ablation
.PHONY: upscale models import export predict check-data

help: ## list the commands
	@echo "usage: make COMMAND [DATA=/path/to/set] [RECIPE=name] [ARGS=\"key=value ...\"]"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment with pinned versions

$(READY): pyproject.toml constraints.txt
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 must be 3.11 or newer")'
	$(PYTHON) -m pip --version >/dev/null 2>&1 || python3 -m venv --clear $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PYTHON) --constraint constraints.txt setuptools --editable '.[dev,demo,export,openvino,app]'
	# The face detector, and two peers for tests; with their dependencies they would replace OpenCV and an older torch this one.
	$(VENV)/bin/uv pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation facenet-pytorch==2.6.0 \
		realesrgan==0.3.0 basicsr==1.4.2 emotiefflib==1.1.1
	touch $@

lint: $(READY) ## check style, types and which package imports which
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --cache-dir .cache/import_linter

format: $(READY) ## format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Another processor's instructions sum in another order: SSE41 (any x86-64), AVX2, AVX512_CORE if this one has them.
OTHER_PROCESSOR = ONEDNN_MAX_CPU_ISA=$(ISA) ATEN_CPU_CAPABILITY=$(or $(ATEN_$(ISA)),default)
ATEN_AVX2 = avx2
ATEN_AVX512_CORE = avx512

PYTEST = OMP_WAIT_POLICY=passive $(if $(ISA),$(OTHER_PROCESSOR)) $(VENV)/bin/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

test: $(READY) ## run the tests [ISA=SSE41 or AVX2: with an older processor's instructions]
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(READY) ## run the tests that start several processes or large networks
	$(PYTEST) -m slow $(ARGS)

mutation: $(READY) ## change affect/ line by line and see which changes no test notices [ARGS="affect.losses*"]
	$(VENV)/bin/uv pip install --quiet --python $(PYTHON) --constraint constraints.txt --editable '.[mutation]'
	OMP_WAIT_POLICY=passive nice -n 19 $(VENV)/bin/mutmut run --max-children 2 $(ARGS)
	$(VENV)/bin/mutmut results

check-data: $(READY) ## list all that is wrong with a data set, before a training [DATA=..., else the demo sets]
	$(PYTHON) -m experiments.check_data $(call key,data.root,DATA) $(ARGS)

faces: $(READY) ## stage 0: face weights from people and landmarks, no emotion label
	$(PYTHON) -m experiments.pretrain.train_identity $(OPTIONS) $(call key,weights,WEIGHTS)

models: $(READY) ## list the published networks that BACKBONE= and WEIGHTS= take by name [ARGS="fetch=name"]
	$(call without,DATA)$(PYTHON) -m experiments.models $(ARGS)

pretrain: $(READY) ## stage 1: MT-EmotiEffNet on AffectNet [DATA=...] [WEIGHTS=face weights]
	$(PYTHON) -m experiments.pretrain $(OPTIONS) $(call key,model.weights,WEIGHTS)

$(DEFAULT_BACKBONE): | $(READY)
	$(PYTHON) -m experiments.pretrain recipe=demo

mtl: $(READY) $(BACKBONE_FILE) ## stage 2: multi-task heads on s-Aff-Wild2 [DATA=...] [BACKBONE=...]
	$(PYTHON) -m experiments.mtl $(ON_BACKBONE)

mtl-submit: $(READY) ## stage 2: the official submission file for the test list [ARGS="run=runs/mtl/..."]
	$(PYTHON) -m experiments.mtl.submit $(call key,data.root,DATA) $(ARGS)

mtl-ablation: $(READY) $(BACKBONE_FILE) ## stage 2: the ablation table
	$(PYTHON) -m experiments.mtl.ablate $(ON_BACKBONE)

mtl-baseline: $(READY) ## stage 2: a network trained end to end on s-Aff-Wild2 alone
	$(PYTHON) -m experiments.mtl.train_baseline $(OPTIONS)

synthetic: $(READY) $(BACKBONE_FILE) ## stage 3: learn from synthetic faces, blend [DATA=...] [BACKBONE=...] [SR_WEIGHTS=...]
	$(PYTHON) -m experiments.synthetic $(ON_BACKBONE) $(call key,preparation.upscaling.weights,SR_WEIGHTS)

synthetic-submit: $(READY) ## stage 3: the official submission file for the test list [ARGS="run=runs/synthetic/..."]
	$(PYTHON) -m experiments.synthetic.submit $(call key,data.root,DATA) $(ARGS)

synthetic-ablation: $(READY) $(BACKBONE_FILE) ## stage 3: the ablation table
	$(PYTHON) -m experiments.synthetic.ablate $(ON_BACKBONE)

import: $(READY) ## make a backbone file of another project's network: SOURCE=network.pt [ARGS="architecture=..."]
	$(call without,DATA)$(PYTHON) -m experiments.import_model $(call key,source,SOURCE) $(ARGS)

predict: $(READY) ## predict a photograph, folder, video or camera: SOURCE=... [BACKBONE=...] [HEADS=run of stage 2]
	$(call without,DATA)$(PYTHON) -m experiments.predict $(call key,source,SOURCE) $(call key,backbone,BACKBONE) $(call key,heads,HEADS) $(ARGS)

upscale: $(READY) ## enlarge any folder of images with Real-ESRGAN: ARGS="source=FOLDER destination=FOLDER"
	$(call without,DATA)$(PYTHON) -m experiments.upscale $(ARGS)

export: $(READY) ## write a network as ONNX file with model card: RUN=run of any stage or BACKBONE=... [ARGS="input=float"]
	$(call without,DATA)$(PYTHON) -m experiments.export $(call key,run,RUN) $(call key,backbone,BACKBONE) $(ARGS)

demo: $(READY) ## the three stages in a row on drawn faces, and a summary
	$(call without,DATA)$(PYTHON) -m experiments.pretrain recipe=demo $(ARGS)
	$(PYTHON) -m experiments.mtl recipe=demo $(ARGS)
	$(PYTHON) -m experiments.synthetic recipe=demo $(ARGS)
	$(PYTHON) -m experiments.summary

demo-seeds: $(READY) ## the demo with three seeds: mean and spread of every figure [ARGS="ablations=true"]
	$(call without,DATA)$(PYTHON) -m experiments.demo_seeds $(ARGS)

bench: $(READY) ## measure speed against the peers, into benchmarks/results/
	for name in pretraining extraction heads calibration upscaling; do $(PYTHON) -m benchmarks.$$name || exit; done

sheets: $(READY) ## draw contact sheets of the demo faces, into data/demo/sheets
	$(PYTHON) -m demo_data sheet --root data/demo/sheets

dashboard: $(READY) ## look at the local W&B runs in the terminal
	$(VENV)/bin/wandb leet runs/wandb

clean: ## remove caches and the virtual environment; runs and data stay
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache *.egg-info
