package bridge

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// bridgeName is by what twins know the bridge that has this directory: the machine's
// name, and what tells it from others there. It is the same after a restart, if there
// is a directory.
func bridgeName(dir string) (string, error) {
	host, _ := os.Hostname()
	name := clip(host) + "/" + newUpdateID()
	if dir == "" {
		return name, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file := filepath.Join(dir, "name")
	known, err := os.ReadFile(file)
	if err == nil && len(known) > 0 {
		return string(known), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return name, os.WriteFile(file, []byte(name), 0o600)
}
