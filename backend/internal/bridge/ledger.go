package bridge

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A ledger is a directory, in that of the bridge, with a file for each device that the bridge updates
// itself, named by its endpoint; "" is none. How far such an update is stands in
// the twin: this says only which twins to look at after a restart.
type ledger string

// openLedger makes the directory, if it is not there.
func openLedger(dir string) (ledger, error) {
	if dir == "" {
		return "", nil
	}
	dir = filepath.Join(dir, "updates")
	return ledger(dir), os.MkdirAll(dir, 0o700)
}

// file is that of an endpoint, whose name may have any bytes.
func (l ledger) file(endpoint string) string {
	return filepath.Join(string(l), base64.RawURLEncoding.EncodeToString([]byte(endpoint)))
}

func (l ledger) add(endpoint string) error {
	if l == "" {
		return nil
	}
	f, err := os.OpenFile(l.file(endpoint), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	dir, err := os.Open(string(l))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Close(), dir.Sync(), dir.Close())
}

func (l ledger) remove(endpoint string) error {
	if l == "" {
		return nil
	}
	if err := os.Remove(l.file(endpoint)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (l ledger) has(endpoint string) bool {
	_, err := os.Stat(l.file(endpoint))
	return l != "" && err == nil
}

// open lists the endpoints.
func (l ledger) open() (endpoints []string) {
	if l == "" {
		return nil
	}
	entries, _ := os.ReadDir(string(l)) // it was made just now
	for _, e := range entries {
		if name, err := base64.RawURLEncoding.DecodeString(e.Name()); err == nil {
			endpoints = append(endpoints, string(name))
		}
	}
	return endpoints
}
