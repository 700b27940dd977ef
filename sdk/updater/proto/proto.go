// Package proto is the protocol between agent and updaters. updater.proto is
// the place to start for an updater in another language than Go; the rest is
// generated from it. Only package updater uses it.
package proto

//go:generate sh generate.sh
