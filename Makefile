# The verbs of the house; `make help` lists them. Everything that is made stays in bin/ and .cache/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help deps build check test e2e demo demo-ha mockup bench bench-ha bench-drbd install uninstall man clean

PREFIX  ?= /usr/local
DESTDIR ?=
BIN     ?= bin
PROGRAMS = kvmctl kvmha
UNITS   ?= $(PREFIX)/lib/systemd/system

# A Go that `make deps` had to fetch comes first; one in the usual place is found even where PATH lacks it.
export PATH := $(CURDIR)/.cache/go/bin:$(PATH):/usr/local/go/bin

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X kvmctl/internal/version.Version=$(VERSION)
# Tests that measure time run one package after the other.
ALONE    = ./cmd/kvmctl,./cmd/kvmha,./ha/...,./netbridge/...,./internal/...
ROOMS    = $(wildcard cmd configs vm netbridge ha internal test)

help: ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

deps: ## install what is missing (apt-get; a Go that is new enough from the module proxy)
	@contrib/deps.sh

build: ## build bin/kvmctl and bin/kvmha: static, without cgo
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/kvmctl ./cmd/kvmctl
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/kvmha ./cmd/kvmha

check: ## conflict marks, gofmt, vet, staticcheck, tidy go.mod, the import rule, kvmha for FreeBSD
	@if git rev-parse --git-dir >/dev/null 2>&1; then \
		if git grep -nE '^(<{7}|>{7}|\|{7}) ' -- .; then echo 'a merge left conflict marks'; exit 1; fi; fi
	@out=$$(gofmt -s -l $(ROOMS)); if [ -n "$$out" ]; then echo "not formatted (gofmt -s -w):"; echo "$$out"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	GOOS=freebsd GOARCH=amd64 CGO_ENABLED=0 go build ./ha/... ./configs/kvmha/... ./cmd/internal/agentcmd ./cmd/kvmha
	go mod tidy -diff
	go mod verify
	go test ./internal/archtest

test: ## install, build, check, then run every test; the last line counts them
	@contrib/deps.sh
	@$(MAKE) --no-print-directory build check
	@go run ./test/guest/cmd/mkguest >/dev/null # before any test needs it where no network is
	KVM_TEST_TIERS=all go run ./test/runtests -alone=$(ALONE) -race -shuffle=on -timeout 20m ./...

e2e: ## boot Debian under QEMU and see there what needs systemd or a whole kernel, and what befalls two nodes with DRBD (half an hour)
	@contrib/deps.sh e2e
	@$(MAKE) --no-print-directory build
	@go run ./test/debguest/cmd/mkdebguest >/dev/null # once; it takes two minutes
	KVM_TEST_TIERS=e2e go test -count=1 -v -p 1 -timeout 40m ./test/debguest ./test/e2e/...

demo: ## show the main job on a guest of its own (KEEP=1 leaves it running)
	@contrib/deps.sh
	@$(MAKE) --no-print-directory build
	KEEP=$(KEEP) go run ./test/demo

demo-ha: ## show kvmha beside a ucarp: a service breaks, the address moves, a mail comes, it moves back
	@contrib/deps.sh
	@$(MAKE) --no-print-directory build
	go run ./test/demoha

mockup: ## the seed's site on one machine: four guests, every way in which it can break, nothing acknowledged may be lost (under an hour)
	@contrib/deps.sh
	@$(MAKE) --no-print-directory build
	go run ./test/mockup -o docs/mockup.md

bench: ## measure against raw QEMU and libvirt, which it installs
	@contrib/deps.sh bench
	@$(MAKE) --no-print-directory build
	@go run ./test/guest/cmd/mkguest >/dev/null # the bench has a network of its own, without a way out
	go run ./test/bench

bench-ha: ## measure kvmha against ucarp and keepalived (about twenty minutes)
	@contrib/deps.sh bench-ha
	@$(MAKE) --no-print-directory build
	go run ./test/benchha

bench-drbd: ## measure fail-over of storage against keepalived and Pacemaker (less than half an hour)
	@contrib/deps.sh bench-drbd
	@$(MAKE) --no-print-directory build
	go run ./test/benchdrbd

install: ## install into $(DESTDIR)$(PREFIX): programs, manual, units, init scripts, completions, reference files
	@test -x $(BIN)/kvmctl -a -x $(BIN)/kvmha || $(MAKE) --no-print-directory build
	install -d $(DESTDIR)$(PREFIX)/bin $(addprefix $(DESTDIR)$(PREFIX)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d doc/kvmctl/examples)
	install -m 755 $(addprefix $(BIN)/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin/
	for p in $(PROGRAMS); do \
		$(BIN)/$$p completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$p && \
		$(BIN)/$$p completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$p && \
		$(BIN)/$$p completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$p.fish || exit; \
	done
	install -m 644 $(wildcard configs/*.toml configs/kvmha/*.toml) $(DESTDIR)$(PREFIX)/share/doc/kvmctl/examples/
	install -m 644 LICENSE $(wildcard README.md CHANGELOG.md) $(DESTDIR)$(PREFIX)/share/doc/kvmctl/
	for s in 5 8; do install -d $(DESTDIR)$(PREFIX)/share/man/man$$s && install -m 644 man/*.$$s $(DESTDIR)$(PREFIX)/share/man/man$$s/ || exit; done
	install -d $(DESTDIR)$(UNITS) $(DESTDIR)/etc/init.d $(DESTDIR)/etc/needrestart/conf.d
	for u in contrib/systemd/*; do sed 's|@BINDIR@|$(PREFIX)/bin|' $$u | install -m 644 /dev/stdin $(DESTDIR)$(UNITS)/$${u##*/} || exit; done
	install -m 755 contrib/kvm.init $(DESTDIR)/etc/init.d/kvm
	install -m 755 contrib/kvmha.init $(DESTDIR)/etc/init.d/kvmha
	install -m 644 contrib/needrestart.conf $(DESTDIR)/etc/needrestart/conf.d/kvmctl.conf
	@[ -n '$(DESTDIR)' ] || [ ! -d /run/systemd/system ] || { systemctl daemon-reload && echo 'start guests at boot, stop them at shutdown: systemctl enable --now kvm.service'; \
		echo 'an HA member, once kvmha check is content: systemctl enable --now kvmha.service kvmha-tick.service'; }

uninstall: ## remove what install put there; images, configuration and running guests stay
	@[ -n '$(DESTDIR)' ] || [ ! -d /run/systemd/system ] || systemctl disable kvm.service kvmha.service kvmha-tick.service 2>/dev/null || true
	rm -f $(foreach p,$(PROGRAMS),$(addprefix $(DESTDIR)$(PREFIX)/,bin/$(p) $(addprefix share/,bash-completion/completions/$(p) zsh/site-functions/_$(p) fish/vendor_completions.d/$(p).fish)))
	rm -f $(patsubst contrib/systemd/%,$(DESTDIR)$(UNITS)/%,$(wildcard contrib/systemd/*)) $(DESTDIR)/etc/init.d/kvm $(DESTDIR)/etc/init.d/kvmha $(DESTDIR)/etc/needrestart/conf.d/kvmctl.conf
	rm -f $(foreach s,5 8,$(patsubst man/%,$(DESTDIR)$(PREFIX)/share/man/man$(s)/%,$(wildcard man/*.$(s))))
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/kvmctl
	@echo 'left as they are: $(DESTDIR)/etc/kvm, $(DESTDIR)/var/lib/kvm, and every guest that runs; $(DESTDIR)/etc/kvmha.toml and $(DESTDIR)/var/lib/kvmha'
	@[ -n '$(DESTDIR)' ] || ! ls /run/kvm/*/qemu.pid >/dev/null 2>&1 || echo 'guests run, and nothing shuts them down with the host any more: power them off from inside'

man: ## write the manual pages in man/ again, from the commands' help and the reference files
	go run ./cmd/internal/manual/mkman man

clean: ## remove what was built (downloads stay in .cache)
	rm -rf bin $(wildcard .cache/guest/*.json) $(filter-out .cache/guest/packages .cache/guest/lock,$(wildcard .cache/guest/*)) $(wildcard .cache/debguest/.image-*)
