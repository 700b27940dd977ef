// Package trust decides which packages a device may install, by TUF (The Update
// Framework, specification 1.0): who controls the file server or the hub cannot
// make a package that devices take, and an author whose key is stolen cannot
// choose the devices.
//
//	root       offline keys, a threshold of them: says who the others are
//	└ targets  offline: delegates each component to its author, and lists nothing itself
//	  └ author one for each author: lists the packages that the author vouches for
//	snapshot   online: which versions of these are current
//	timestamp  online: which snapshot is current; good for two days
//
// A target is a package: its path is the component and the version, as in
// application/greeter/2.1.0, its hash is the digest of the package's manifest,
// which covers every other byte of it.
//
// A [Client] is the device's end: its workflow is the list in workflow.go. A
// [Repository] is the other one, in a directory: that of the operator, which
// offline keys sign, or that of the file server, which keeps snapshot and
// timestamp fresh with its online key. go-tuf reads, writes and verifies the
// metadata; its updater is not used (RATIONALE.md of sdk says why).
package trust
