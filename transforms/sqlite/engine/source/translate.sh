#!/usr/bin/env bash
# Makes sqlite.wasm.go and sqlite.wasm.dat of sqlite.wasm.
set -euo pipefail
cd "$(dirname "$0")/.."
go run github.com/ncruces/wasm2go@v0.4.22 -embed -pkg engine -o sqlite.wasm.go sqlite.wasm
sed -i '1a\
//lint:file-ignore SA4006,U1000 as translated' sqlite.wasm.go
go run mvdan.cc/gofumpt@v0.12.0 -w sqlite.wasm.go
