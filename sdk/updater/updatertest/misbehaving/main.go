// Command misbehaving is an updater that keeps no promise, for tests of those who
// host updaters: see updatertest.Misbehave. Its components are of type "misbehaving".
package main

import "github.com/tranquil-iot/tranquil/sdk/updater/updatertest"

func main() { updatertest.Misbehave("misbehaving") }
