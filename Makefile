# Tranquil. `make help` lists what there is.

GO        ?= go
BIN       := bin
N         ?= 50
FUZZTIME  ?= 10s
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-dev)
LDFLAGS   := -s -w -X main.version=$(VERSION)
BINARIES  := $(BIN)/tranquil $(BIN)/tranquil-agent $(BIN)/tranquil-backend $(BIN)/tranquil-updater-application $(BIN)/tranquil-updater-container $(BIN)/tranquil-updater-firmware

STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := $(GO) run mvdan.cc/gofumpt@v0.12.0

# All is compiled as the binaries are, so that what tests build is in the cache.
export GOFLAGS := -trimpath $(GOFLAGS)

.DEFAULT_GOAL := help
.PHONY: arm dist help build transforms modules demo demo-container test race cuts torture faults clock check lint generate generated deps bench downtime fuzz clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: $(BINARIES) ## the six binaries, into bin/

# The digests of the ready-made transforms, whose native code these two contain.
NATIVE = -X github.com/tranquil-iot/tranquil/transforms/native.digests=$(shell paste -sd, $(BIN)/transforms/digests)

$(BIN)/tranquil: transforms FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS) $(NATIVE)' -o $@ ./sdk/cmd/tranquil
$(BIN)/tranquil-agent: transforms FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS) $(NATIVE)' -o $@ ./agent
$(BIN)/tranquil-backend: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./backend
$(BIN)/tranquil-updater-application: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./plugins/application
$(BIN)/tranquil-updater-container: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./plugins/container
$(BIN)/tranquil-updater-firmware: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./plugins/firmware
FORCE:

transforms: ## the ready-made transforms as WebAssembly, into bin/transforms/, the same bytes each time
	@mkdir -p $(BIN)/transforms
	$(GO) run ./transforms/build -o $(BIN)/transforms >$(BIN)/transforms/digests

MODULES := $(BIN)/modules
modules: transforms ## the ready-made transforms for a release, with their digests: bin/modules/
	@rm -rf $(MODULES) && mkdir -p $(MODULES)
	cp $(BIN)/transforms/*.wasm $(MODULES)
	cd $(MODULES) && sha256sum *.wasm >SHA256SUMS && cat SHA256SUMS

DIST := $(BIN)/dist
dist: transforms ## packages for amd64, arm64 and armhf, the same bytes each time: bin/dist/ (ARCH=amd64 for one)
	@rm -rf $(DIST)
	$(GO) run ./sdk/cmd/dist -o $(DIST) -version $(VERSION) -time $$(git log -1 --format=%ct) \
		-native $(shell paste -sd, $(BIN)/transforms/digests) $(if $(ARCH),-arch $(ARCH))

demo: ## the main job, whole: a stateful component is updated six times, and refuses a package that nobody has signed (STAY=1 leaves it running)
	CGO_ENABLED=0 $(GO) run ./examples/demo $(if $(STAY),-stay)

demo-container: ## containers are updated from the twin, their state transformed: by LXC, runc and a stand-in for a MICA
	$(GO) test ./examples/fleet -run '^Test(Container|Mica)$$' -count=1 -v

# Tests mostly wait, those of containers and whole systems above all: more of them run at once than there are processors.
CPUS     := $(shell nproc)
TOGETHER := -timeout 20m -p $(shell expr $(CPUS) + 1) -parallel $(shell expr $(CPUS) \* 2)

test: ## all tests
	$(GO) test $(TOGETHER) ./...

# The race detector sleeps for a second whenever a process ends, and the tests have thousands of them.
race: export GORACE = atexit_sleep_ms=0
race: ## all tests, with the race detector; what go vet finds, lint does
	$(GO) test -race -vet=off $(TOGETHER) ./...

cuts: ## the power fails after each operation of an update in turn, with each step failing
	$(GO) test ./agent/internal/engine -run 'TestPowerCuts' -count=1 -v -timeout 30m | grep -v '^ *=== '

torture: ## SIGKILL of anything at N=50 random moments of updates (SEED=… repeats a plan)
	TRANQUIL_TORTURE=$(N) TRANQUIL_SEED=$(SEED) $(GO) test ./examples/fleet -run '^TestTorture$$' -count=1 -v -timeout 10h

faults: ## every operation on the agent's disk fails in every way, during updates (hours)
	TRANQUIL_FAULTS=all $(GO) test ./examples/fleet -run '^Test(Faults|FullDisk)$$' -count=1 -v -timeout 24h

clock: ## the wall clock is stepped by ±10 years at each step of an update, in user-mode Linux (half an hour)
	TRANQUIL_CLOCK=all $(GO) test ./examples/fleet -run '^TestWallClock$$' -count=1 -v -timeout 24h

ARM := $(BIN)/arm
arm: ## transforms, ready-made ones too, give the same bytes on ARMv7 and ARMv8 (needs make deps)
	@mkdir -p $(ARM); for name in subject opener; do \
		GOOS=wasip1 GOARCH=wasm $(GO) build -o $(ARM)/$$name ./sdk/transform/host/testdata/$$name || exit 1; done
	$(GO) run ./transforms/build -o $(ARM) jq sqlite
	TRANQUIL_MODULES=$(CURDIR)/$(ARM) $(GO) test ./sdk/transform/host -run '^TestEngines' -count=1 # here, without the race detector
	@if ! command -v qemu-arm-static >/dev/null || ! command -v qemu-aarch64-static >/dev/null; then \
		echo "######## qemu-user-static is missing: NOT CHECKED on ARM. Run make deps. ########"; exit 0; fi; set -e; \
	for target in arm:qemu-arm-static arm64:qemu-aarch64-static; do \
		GOARCH=$${target%:*} GOARM=7 CGO_ENABLED=0 $(GO) test -c -o $(ARM)/host.$${target%:*} ./sdk/transform/host; \
		(cd sdk/transform/host && TRANQUIL_MODULES=$(CURDIR)/$(ARM) $${target#*:} $(CURDIR)/$(ARM)/host.$${target%:*} -test.v -test.run '^TestEngines') \
			>$(ARM)/log 2>&1 || { cat $(ARM)/log; exit 1; }; sed -n "/RUN/d; s/^/$${target%:*}: /p" $(ARM)/log; done

check: build generated lint race arm demo ## what CI runs

lint: ## vet, also with integers of 32 bits; staticcheck, formatting
	$(GO) vet ./...
	GOARCH=386 $(GO) vet ./...
	$(STATICCHECK) ./...
	@unformatted=$$($(GOFUMPT) -l agent backend examples plugins sdk transforms); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofumpt -w on:"; echo "$$unformatted"; exit 1; fi
	@$(GO) mod tidy -diff >/dev/null || { echo "go.mod is not tidy: run go mod tidy"; exit 1; }

generate: ## write generated code anew (needs make deps)
	$(GO) generate ./...

generated: ## fail if generated code is not current
	@command -v protoc >/dev/null || { echo "protoc is missing: run make deps"; exit 1; }
	$(GO) generate ./...
	git diff --exit-code --stat -- '*.pb.go' '*.wasm.go' '*.wasm.dat'

# Beyond protoc: a security module in software, a browser for the operator's pages, an MQTT broker to compare with, a CoAP peer of others, other processors, another clock, container engines and what is in the
# containers of tests, systemd, RAUC with its bus and bundles, what Python needs for an updater, and the toolchains of the example transforms: C and Rust; from npm AssemblyScript and Zig, LwM2M peers of others, and Azure's SDKs.
DEPS := openssl softhsm2 opensc skopeo docker-registry mosquitto chromium fonts-dejavu-core protobuf-compiler libprotobuf-dev libcoap3-bin curl iproute2 qemu-user-static user-mode-linux lxc uidmap runc mmdebstrap busybox-static rauc squashfs-tools dbus systemd python3-grpcio python3-protobuf man-db zsh fish clang lld wasi-libc libclang-rt-dev-wasm32 rustc libstd-rust-dev-wasm32
NPM  := examples/transforms/assemblyscript examples/transforms/zig sdk/lwm2m/coap/testdata/peers backend/internal/hub/testdata/peers

# A Debian with systemd and nothing else, into which the packages are installed by tests.
DEBIAN := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tranquil/debian

deps: ## install what check needs beyond Go, git, make and gcc, from Debian and npm
	apt-get update -q && broker=$$(command -v mosquitto || true) && \
		apt-get install -qy --no-install-recommends $(DEPS) $$(command -v npm >/dev/null || echo npm) && \
		{ [ -n "$$broker" ] || systemctl disable -q --now mosquitto 2>/dev/null || true; } # it is not to take port 1883
	[ -e $(DEBIAN) ] || { rm -rf $(DEBIAN).new && mkdir -p $(DEBIAN).new && \
		mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus bookworm $(DEBIAN).tar && \
		tar -xf $(DEBIAN).tar -C $(DEBIAN).new --numeric-owner --exclude=./dev/* && rm $(DEBIAN).tar && mv $(DEBIAN).new $(DEBIAN); }
	$(GO) install oras.land/oras/cmd/oras@v1.2.3
	for folder in $(NPM); do npm ci --prefix $$folder --no-audit --no-fund --silent || exit 1; done

bench: ## benchmarks, as ratios; TRANQUIL_BENCH_MB=64 for transforms of a shorter file than 1 GB
	$(GO) test -run '^$$' -bench . -benchmem -timeout 2h ./...

downtime: ## downtime by size and number of files, as ratios; TRANQUIL_BENCH_GB=1 adds 1 GB
	$(GO) test -run '^$$' -bench Downtime -benchtime 1x -timeout 4h -p 1 ./examples/fleet ./agent/internal/state

fuzz: ## every fuzz target for FUZZTIME=10s
	@set -e; for package in $$(grep -rl --include='*_test.go' '^func Fuzz' agent backend examples plugins sdk transforms | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$package/*_test.go | cut -c6-); do \
			echo "$$package $$target"; $(GO) test ./$$package -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s; \
		done; done

clean: ## remove what was built
	rm -rf $(BIN)
