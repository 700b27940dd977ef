// Package queue keeps the jobs of sleeping LwM2M devices in files, one per job, so
// that a restart of the server or a power cut loses none that was accepted.
package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// Files is an [lwm2m.Queue] in a folder, which belongs to one server: a folder per
// endpoint, in it a file per job whose name gives the order.
type Files struct {
	folder string

	mu   sync.Mutex
	next uint64
}

// Open opens the queue in a folder, which is made if it is not there.
func Open(folder string) (*Files, error) {
	f := &Files{folder: folder}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open the queue: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(folder, "*", "*.json"))
	if err != nil {
		return nil, fmt.Errorf("cannot open the queue: %w", err)
	}
	for _, name := range names {
		var n uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "%016x-", &n); err == nil && n >= f.next {
			f.next = n + 1
		}
	}
	return f, nil
}

// of is the folder of an endpoint, whose name may have any bytes and any length.
func (f *Files) of(endpoint string) string {
	if len(endpoint) > 120 { // a file's name has 255 bytes
		sum := sha256.Sum256([]byte(endpoint))
		return filepath.Join(f.folder, "s"+hex.EncodeToString(sum[:]))
	}
	return filepath.Join(f.folder, "x"+hex.EncodeToString([]byte(endpoint)))
}

// Put implements [lwm2m.Queue].
func (f *Files) Put(_ context.Context, j lwm2m.Job) error {
	content, err := json.Marshal(j)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	folder := f.of(j.Endpoint)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	name := filepath.Join(folder, fmt.Sprintf("%016x-%s.json", f.next, j.ID))
	f.next++
	if err := write(name+".new", content); err != nil {
		return errors.Join(err, os.Remove(name+".new"))
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return errors.Join(syncFolder(folder), syncFolder(f.folder))
}

func write(name string, content []byte) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Sync(), file.Close())
}

func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Jobs implements [lwm2m.Queue].
func (f *Files) Jobs(_ context.Context, endpoint string) ([]lwm2m.Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries, err := os.ReadDir(f.of(endpoint)) // in order of their names
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var jobs []lwm2m.Job
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue // not finished
		}
		content, err := os.ReadFile(filepath.Join(f.of(endpoint), e.Name()))
		if err != nil {
			return nil, err
		}
		var j lwm2m.Job
		if err := json.Unmarshal(content, &j); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// Remove implements [lwm2m.Queue].
func (f *Files) Remove(_ context.Context, j lwm2m.Job) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	folder := f.of(j.Endpoint)
	names, err := filepath.Glob(filepath.Join(folder, "*-"+j.ID+".json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	_ = os.Remove(folder) // if it is empty
	return nil
}
