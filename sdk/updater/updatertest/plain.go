package updatertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Plain returns the program of the tests without the race detector, which it
// builds into dir if this one has it. It is for processes that are killed: nobody
// hears what the race detector says there, and it more than doubles the time that
// each of thousands takes to start.
func Plain(dir string) (program string, err error) {
	if !raced {
		return os.Args[0], nil
	}
	program = filepath.Join(dir, filepath.Base(os.Args[0]))
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-o", program, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the program of the tests: %w\n%s", err, out)
	}
	return program, nil
}
