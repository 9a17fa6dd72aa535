# make            lists the targets
# make run        builds and starts the service on its embedded default
# make test       installs what the tests need and runs all of them

GO       ?= go
BIN      := bin/eventbus
NPM_CI   := npm ci --no-audit --no-fund --loglevel=error

.DEFAULT_GOAL := help
.PHONY: help run build test check go-test deploy-test types-test node-test browser-test faults-test faults deps generate bench fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build and start the service with an embedded Redis; its demo page's address is printed
	$(BIN) serve --dev

build: ## build bin/eventbus
	$(GO) build -trimpath -o $(BIN) ./cmd/eventbus
	$(GO) build -trimpath -o $(BIN)-autoscaler ./cmd/eventbus-autoscaler

test: deps check go-test deploy-test node-test types-test faults-test browser-test ## install what the tests need and run all of them

check: ## formatting, vet, staticcheck, tidy modules
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not gofmt'ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./server/... ./cmd/...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	cd test/deploy && $(GO) vet ./... && $(GO) mod tidy -diff

go-test: ## Go tests with the race detector
	$(GO) test -race ./...

deploy-test: build deps ## Dockerfile, compose, Kubernetes, Helm, alerts and dashboards, read by what reads them in earnest
	cd test/deploy && $(GO) test ./...

types-test: deps ## the generated TypeScript types and the AsyncAPI document
	cd test/types && npm test

node-test: build deps ## the built binary, driven by the official clients
	cd test && npm test

faults-test: build deps ## replicas, Redis and connections die: nothing is lost, doubled or reordered (the short form)
	cd test && npm run --silent test:faults

faults: build deps ## the long form: more clients, more faults, about half an hour
	cd test && npm run --silent faults

browser-test: build deps ## the demo page in a real browser
	cd test/browser && npm test

deps: test/node_modules/.installed test/browser/node_modules/.installed test/types/node_modules/.installed ## install Redis, nginx, Prometheus, Chromium and npm packages for the tests
	@test/install.sh redis-server chromium nginx prometheus

%/node_modules/.installed: %/package-lock.json
	cd $* && $(NPM_CI)
	@touch $@

generate: ## write what is made from code: TypeScript types, the AsyncAPI document, references
	$(GO) generate ./...
	$(GO) test ./cmd/eventbus -run Reference -update

bench: build deps ## compare speed and memory with Node's Socket.IO
	test/bench/run.sh

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@set -e; for f in $$(grep -rl --include=*_test.go '^func Fuzz' . --exclude-dir=node_modules); do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$f); do \
			$(GO) test ./$$(dirname $$f) -run '^$$' -fuzz "^$$t\$$" -fuzztime $${FUZZTIME:-30s}; done; done

clean: ## remove what was built and installed here
	rm -rf bin test/node_modules test/browser/node_modules test/types/node_modules test/bench/node-ws/node_modules
