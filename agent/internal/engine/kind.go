package engine

import "github.com/tranquil-iot/tranquil/sdk/pack"

// Kinds of updates, as the twin shows them.
const (
	KindUpdate   = "update"
	KindRollback = "rollback" // to a version from before
	KindRestore  = "restore"  // of an earlier state, the version stays
	KindRemove   = "remove"
	KindRepair   = "repair" // what the agent has found after damage, and done about it; or what an operator has decided
)

// Kind tells what u does.
func (u *Update) Kind() string {
	switch {
	case u.Repair != 0:
		return KindRepair
	case u.removes():
		return KindRemove
	case u.Wish == (Wish{}) && u.Restore != 0:
		return KindRestore
	case u.Wish.Version == "" && u.Wish.Package == "":
		return KindRepair
	case u.Wish.State == StateSaved || u.Wish.State == StateTransform || u.goesDown():
		return KindRollback
	}
	return KindUpdate
}

// goesDown reports whether a higher version is installed.
func (u *Update) goesDown() bool {
	from, to := u.From.Version, u.target()
	return pack.CheckVersion(from) == nil && pack.CheckVersion(to) == nil && pack.CompareVersions(to, from) < 0
}
