#!/usr/bin/env bash
# Makes sqlite.wasm of main.c and SQLite, and sqlite.wasm.go of that.
# Debian 12's clang gives the bytes that are here; another gives others.
# transforms/RATIONALE.md says why SQLite comes this way.
set -euo pipefail
cd "$(dirname "$0")"

# The amalgamation as published, verified by Go's checksum database.
source=$(go mod download -json github.com/mattn/go-sqlite3@v1.14.53 | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$source/sqlite3-binding.c" "$work/sqlite3.c"
cp "$source/sqlite3-binding.h" "$work/sqlite3.h"

clang --target=wasm32-wasi -Oz -fno-ident -Wall -Werror -I "$work" -o "$work/sqlite.wasm" \
	main.c -Wno-everything "$work/sqlite3.c" \
	-DSQLITE_OS_OTHER=1 -DSQLITE_THREADSAFE=0 -DSQLITE_TEMP_STORE=3 -DSQLITE_DQS=0 \
	-DSQLITE_ENABLE_MATH_FUNCTIONS -DSQLITE_ENABLE_RTREE -DSQLITE_SOUNDEX -DSQLITE_STRICT_SUBTYPE=1 \
	-DSQLITE_LIKE_DOESNT_MATCH_BLOBS -DSQLITE_TRUSTED_SCHEMA=0 -DSQLITE_DEFAULT_MEMSTATUS=0 \
	-DSQLITE_OMIT_WAL -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_SHARED_CACHE -DSQLITE_OMIT_DEPRECATED \
	-DSQLITE_OMIT_PROGRESS_CALLBACK -DSQLITE_OMIT_DESERIALIZE -DSQLITE_OMIT_AUTOINIT \
	-DHAVE_LOG2=1 -DHAVE_LOG10=1 -DHAVE_ISNAN=1 -DHAVE_STRCHRNUL=1 -DHAVE_GMTIME_R=1 -DHAVE_LOCALTIME_R=1 \
	-Wl,--strip-all -Wl,--stack-first -Wl,-z,stack-size=1048576
cp "$work/sqlite.wasm" ../sqlite.wasm
chmod 644 ../sqlite.wasm
./translate.sh
