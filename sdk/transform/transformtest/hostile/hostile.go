// Package hostile makes state transforms that attack whoever runs them. They are
// generated: nothing of it lies anywhere as a file.
//
// Each attack ends in one of the classes of ABI.md, section 3, and in nothing
// else: the tests of the sandbox hold it against the host, those of the fleet
// against the agent of a device.
package hostile

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/internal/wat"
)

// An Attack is one module that has no good intentions.
type Attack struct {
	Module []byte
	Class  string // of the failure
	Reason string // a part of its line

	// With these limits it ends soon; 0: it does with any.
	Compile, CPU, Wall time.Duration
	// Format is that of the edge, "" if it does not matter.
	Format string
}

// Corpus returns attacks by name; what stands before the colon is attacked. All
// want to be run on a file with something in it.
func Corpus(t testing.TB) map[string]Attack {
	t.Helper()
	all := map[string]Attack{}
	for _, some := range []map[string]Attack{decoding(), foreign(t), compiling(), exhausting(t), flooding(t), trapping(t), lying(t)} {
		for name, attack := range some {
			all[name] = attack
		}
	}
	return all
}

// Classes of failure, see ABI.md.
const (
	refused       = "module refused"
	failed        = "failed"
	trap          = "trap"
	stackOverflow = "stack overflow"
	deadline      = "deadline"
	outputLimit   = "output limit"
	resourceLimit = "resource limit"
	invalid       = "invalid output"
)

// imports and memory are the begin of most modules: page 0 is for the code,
// page 1 for what it reads.
const begin = `(module
	(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
	(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
	(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
	(memory (export "memory") 2)
	`

// read reads all of stdin, as an honest module does.
const read = `loop $more
		i32.const 0 i32.const 65536 i32.store i32.const 4 i32.const 65536 i32.store
		i32.const 0 i32.const 0 i32.const 1 i32.const 8 call $fd_read drop
		i32.const 8 i32.load br_if $more
	end
	`

// start is a module whose _start has the given code and one local, $i.
func start(t testing.TB, code string) []byte {
	t.Helper()
	return wat.Assemble(t, begin+`(func (export "_start") (local $i i32) `+code+`))`)
}

// decoding attacks whoever believes the numbers in a module: 34 bytes promise
// billions of things.
func decoding() map[string]Attack {
	const huge = 0xffffffff
	return map[string]Attack{
		"decoder: functions": {Module: slices.Concat(magic, section(sectionFunction, number(huge))), Class: refused, Reason: "too many functions"},
		"decoder: locals":    {Module: module([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b}), Class: refused, Reason: "too many local"},
		"decoder: a name":    {Module: importing(bytes.Repeat([]byte{0xff}, 1<<20)), Class: refused, Reason: "only functions of wasi"},
		"decoder: names":     {Module: slices.Concat(magic, section(sectionCustom, []byte("\x04name\x01\x05"), number(huge))), Class: refused, Reason: "too many names"},
		"decoder: tables":    {Module: slices.Concat(magic, section(sectionTable, []byte{1, 0x70, 0}, number(huge))), Class: refused, Reason: "its tables have"},
		"decoder: cut off":   {Module: module(idle)[:40], Class: refused, Reason: "truncated"},
	}
}

// foreign asks for files, the network, the host's own functions, and what an
// engine could do beyond what a transform may.
func foreign(t testing.TB) map[string]Attack {
	importing := func(module, name, params string) []byte {
		return wat.Assemble(t, `(module (import "`+module+`" "`+name+`" (func $f (param `+params+`) (result i32)))
			(memory (export "memory") 2) (func (export "_start")))`)
	}
	return map[string]Attack{
		"files":                 {Module: importing("wasi_snapshot_preview1", "path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"), Class: refused, Reason: "no files and no"},
		"network":               {Module: importing("wasi_snapshot_preview1", "sock_send", "i32 i32 i32 i32 i32"), Class: refused, Reason: "no files and no"},
		"host: its functions":   {Module: importing("env", "system", "i32"), Class: refused, Reason: "only functions of wasi"},
		"feature: SIMD":         {Module: module([]byte{0, 0x41, 0, 0xfd, 0, 4, 0, 0x1a, 0x0b}), Class: refused, Reason: "SIMD"},
		"feature: threads":      {Module: module([]byte{0, 0xfe, 3, 0, 0x0b}), Class: refused, Reason: "of threads"},
		"feature: tail calls":   {Module: module([]byte{0, 0x12, 1, 0x0b}), Class: refused, Reason: "tail calls"},
		"feature: tables grow":  {Module: module([]byte{0, 0xd0, 0x70, 0x41, 1, 0xfc, 15, 0, 0x1a, 0x0b}), Class: refused, Reason: "table.grow"},
		"feature: start itself": {Module: wat.Assemble(t, `(module (memory (export "memory") 2) (func $s) (func (export "_start")) (start $s))`), Class: refused, Reason: "start section"},
		// What is not there cannot be written to: 3 is nothing, 5 is open in the process of the sandbox.
		"files: not there":    {Module: start(t, read+"i32.const 3 i32.const 0 i32.const 1 i32.const 16 call $fd_write i32.eqz if unreachable end"), Class: invalid, Reason: "wrote nothing"},
		"files: the host's":   {Module: start(t, read+"i32.const 5 i32.const 0 i32.const 1 i32.const 16 call $fd_write i32.eqz if unreachable end"), Class: invalid, Reason: "wrote nothing"},
		"host: its addresses": {Module: start(t, read+"i32.const 1 i32.const -8 i32.const 9 i32.const -1 call $fd_write drop"), Class: invalid, Reason: "wrote nothing"},
	}
}

// compiling attacks the compiler, by what costs much more than its length.
func compiling() map[string]Attack {
	jumping := append([][]byte{idle}, slices.Repeat([][]byte{jumps(4_000)}, 20)...)
	return map[string]Attack{
		"compiler: loops":       {Module: module(append([][]byte{idle}, slices.Repeat([][]byte{loops(32, 40)}, 5_000)...)...), Compile: 200 * time.Millisecond, Class: deadline, Reason: "to compile"},
		"compiler: locals":      {Module: module(append([][]byte{idle}, slices.Repeat([][]byte{loops(2, 1_500)}, 500)...)...), Class: refused, Reason: "too many local"},
		"compiler: jump tables": {Module: module(jumping...), Class: invalid, Reason: "unread"},
		"compiler: functions":   {Module: module(slices.Repeat([][]byte{idle}, 49_000)...), Class: invalid, Reason: "unread"},
	}
}

// exhausting attacks processor, memory, tables and stack.
func exhausting(t testing.TB) map[string]Attack {
	grow := "loop $l i32.const 1 memory.grow i32.const -1 i32.ne br_if $l end "
	giveUp := `(data (i32.const 1024) "fatal error: out of memory\n")`
	return map[string]Attack{
		"CPU":                  {Module: start(t, "loop $l br $l end"), CPU: time.Second, Class: deadline, Reason: "of CPU time"},
		"CPU: one instruction": {Module: start(t, "i32.const 2000 memory.grow drop loop $l i32.const 0 i32.const 7 memory.size i32.const 16 i32.shl memory.fill br $l end"), Wall: 300 * time.Millisecond, Class: deadline, Reason: "more than"},
		"memory":               {Module: start(t, read+grow+"i32.const 0 i32.const 1 memory.size i32.const 16 i32.shl memory.fill"), Class: invalid, Reason: "wrote nothing"},
		"memory: more than is": {Module: start(t, "i32.const 65535 memory.grow drop i32.const -4 i32.load drop"), Class: trap, Reason: "out of bounds"},
		"memory: cannot do less": {Module: wat.Assemble(t, begin+giveUp+`(func (export "_start") `+grow+`i32.const 0 i32.const 1024 i32.store i32.const 4 i32.const 27 i32.store
			i32.const 2 i32.const 0 i32.const 1 i32.const 8 call $fd_write drop i32.const 2 call $proc_exit))`), Class: resourceLimit, Reason: "out of memory"},
		"tables": {Module: wat.Assemble(t, `(module (table 1048576 funcref) (memory (export "memory") 2) (func (export "_start")))`), Class: invalid, Reason: "unread"},
		"stack":  {Module: wat.Assemble(t, `(module (memory (export "memory") 2) (func $down (export "_start") call $down))`), Class: stackOverflow},
	}
}

// flooding attacks the disk and the log.
func flooding(t testing.TB) map[string]Attack {
	return map[string]Attack{
		"output": {Module: start(t, `i32.const 4 i32.const 65536 i32.store
			loop $l i32.const 1 i32.const 0 i32.const 1 i32.const 16 call $fd_write drop br $l end`), Class: outputLimit, Reason: "more than"},
		"output: one call": {Module: start(t, `loop $l local.get $i i32.const 65536 i32.store local.get $i i32.const 65536 i32.store offset=4
			local.get $i i32.const 8 i32.add local.tee $i i32.const 65536 i32.lt_u br_if $l end
			i32.const 1 i32.const 0 i32.const 8192 i32.const 0 call $fd_write drop`), Class: outputLimit, Reason: "more than"},
		"log": {Module: start(t, read+`loop $l i32.const 0 i32.const 0 i32.store i32.const 4 i32.const 65536 i32.store
			i32.const 2 i32.const 0 i32.const 1 i32.const 16 call $fd_write drop
			local.get $i i32.const 1 i32.add local.tee $i i32.const 4000 i32.lt_u br_if $l end`), Class: invalid, Reason: "wrote nothing"},
	}
}

// trapping crashes.
func trapping(t testing.TB) map[string]Attack {
	return map[string]Attack{
		"trap":             {Module: start(t, "unreachable"), Class: trap, Reason: "unreachable"},
		"trap: division":   {Module: start(t, "i32.const 1 i32.const 0 i32.div_u drop"), Class: trap, Reason: "divide by zero"},
		"trap: conversion": {Module: start(t, "f64.const 1e30 i32.trunc_f64_u drop"), Class: trap, Reason: "overflow"},
		"trap: half way":   {Module: start(t, read+"i32.const 4 i32.const 16 i32.store i32.const 1 i32.const 0 i32.const 1 i32.const 8 call $fd_write drop unreachable"), Class: trap, Reason: "unreachable"},
	}
}

// lying says that all is well, or that something else has happened.
func lying(t testing.TB) map[string]Attack {
	writing := func(bytes string) string {
		return read + "i32.const 4 i32.const " + bytes + " i32.store i32.const 0 i32.const 1024 i32.store i32.const 1 i32.const 0 i32.const 1 i32.const 8 call $fd_write drop"
	}
	half := wat.Assemble(t, begin+`(data (i32.const 1024) "{\"half\":[1,2") (func (export "_start") `+writing("12")+`))`)
	return map[string]Attack{
		"lie: all is well":     {Module: start(t, "i32.const 0 call $proc_exit"), Class: invalid, Reason: "unread"},
		"lie: nothing is all":  {Module: start(t, read+"i32.const 0 call $proc_exit"), Class: invalid, Reason: "wrote nothing"},
		"lie: half is all":     {Module: half, Format: "json", Class: invalid, Reason: "it is not json"},
		"lie: garbage is JSON": {Module: start(t, writing("64")), Format: "json", Class: invalid, Reason: "it is not json"},
		"lie: cancelled":       {Module: start(t, "i32.const -1 call $proc_exit"), Class: failed},
		"lie: late":            {Module: start(t, "i32.const 0xefffffff call $proc_exit"), Class: failed},
		"lie: 256":             {Module: start(t, "i32.const 256 call $proc_exit"), Class: failed},
	}
}
