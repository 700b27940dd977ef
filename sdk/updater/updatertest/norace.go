//go:build !race

package updatertest

const raced = false
