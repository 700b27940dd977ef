// Package rig starts a whole Tranquil system on this machine, out of the real
// programs, and looks at it from outside: through the hub, the command line
// and the process table. The demo and the tests of the fleet are written with
// it.
//
//	built, err := rig.Build(ctx, dir)            // compiles everything once
//	system, err := rig.Start(ctx, built, dir)    // backend, device, agent
//	defer system.Close()
//	err = system.Push(ctx, file)
//	done, err := system.Update(ctx, "2.0.0")     // wish, and await the result
//
// All of a system lives in one directory, and on ports that were free. Close
// ends every process whose program lies in that directory, also those that
// are made to survive their parents.
package rig
