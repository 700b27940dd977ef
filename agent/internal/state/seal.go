package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"golang.org/x/sys/unix"
)

// Names inside the directory of a generation.
const (
	filesName = "files"
	sealName  = "seal.json"
)

var (
	// ErrNotSealed marks a generation that is missing or was never completed.
	ErrNotSealed = errors.New("not sealed")
	// ErrDamaged marks a sealed generation whose files are not as sealed.
	ErrDamaged = errors.New("files differ from the seal")
	// ErrMisplaced marks a sealed generation that lies where another one belongs.
	ErrMisplaced = errors.New("another saved state lies here")
	// ErrMoved marks a sealed generation whose files somebody has taken over.
	ErrMoved = errors.New("files were moved away")
)

// Missing says of a generation that is not there which ones are. Other errors stay as
// they are.
func Missing(err error, component string, gen Generation, there []Entry) error {
	switch {
	case errors.Is(err, ErrNotSealed):
		err = fmt.Errorf("there is no generation %d of %s", gen, component)
	case !errors.Is(err, ErrMoved):
		return err
	}
	if len(there) == 0 {
		return fmt.Errorf("%w; none is saved", err)
	}
	var all []string
	for _, entry := range there {
		all = append(all, fmt.Sprint(entry.Generation))
	}
	return fmt.Errorf("%w; there are: %s", err, strings.Join(all, ", "))
}

// A seal is the content of seal.json.
type seal struct {
	Meta
	Digest string        `json:"digest"` // of the files, see listing.digest
	Files  int           `json:"files,omitempty"`
	Size   int64         `json:"size,omitempty"` // bytes
	On     time.Duration `json:"on,omitempty"`   // reading of the [clock]

	// Whose the files are. Seals of older agents do not say it.
	Component  string     `json:"component,omitempty"`
	Generation Generation `json:"generation,omitempty"`
	Binding    string     `json:"binding,omitempty"` // see [seal.binding]
}

// bind makes s the seal of one generation alone.
func (s seal) bind(component string, gen Generation) seal {
	s.Component, s.Generation = component, gen
	s.Binding = s.binding()
	return s
}

// binding is a digest of all that an update goes by. It must not change.
func (s seal) binding() string {
	text := fmt.Sprintf("%q %d %d %q %q %q\n", s.Component, s.Generation, s.Schema, s.Version, s.Package, s.Digest)
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))
}

// bound reports whether s says whose the files are.
func (s seal) bound() bool { return s.Component != "" || s.Generation != 0 || s.Binding != "" }

// check fails unless s is the seal of a generation, as it was written.
func (s seal) check(component string, gen Generation) error {
	switch {
	case !s.bound():
		return nil
	case s.Binding != s.binding():
		return fmt.Errorf("%w: the seal itself was altered", ErrDamaged)
	case s.Component != component || s.Generation != gen:
		return fmt.Errorf("%w, generation %d of %s: put each directory back where it belongs, or remove this one", ErrMisplaced, s.Generation, s.Component)
	}
	return nil
}

// entry describes a sealed generation when the clock shows on.
func (s seal) entry(gen Generation, on time.Duration) Entry {
	return Entry{Generation: gen, Meta: s.Meta, Digest: s.Digest, Files: s.Files, Size: s.Size, Age: max(0, on-s.On)}
}

// readSeal wants exactly what writeSeal wrote. Half a seal is left by nothing
// but a power cut before it was brought to the disk, so it counts as damage.
func readSeal(dir string) (seal, error) {
	data, err := os.ReadFile(filepath.Join(dir, sealName))
	if errors.Is(err, fs.ErrNotExist) {
		return seal{}, ErrNotSealed
	}
	if err != nil {
		return seal{}, err
	}
	return parseSeal(data)
}

func parseSeal(data []byte) (seal, error) {
	var s seal
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&s); err != nil {
		return seal{}, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if s.Digest == "" {
		return seal{}, fmt.Errorf("%w: no digest", ErrDamaged)
	}
	return s, nil
}

// writeSeal replaces the seal at once. Who calls it brings it to the disk.
func writeSeal(dir string, s seal) error {
	data, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, sealName)
	if err := os.WriteFile(name+".tmp", data, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// unseal makes a generation garbage, durably, before its files change.
func unseal(dir string) error {
	err := os.Remove(filepath.Join(dir, sealName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return durable.Sync(dir)
}

// syncFileSystem makes all that was written on a file system durable: data
// and names, of any number of files at the cost of one.
func syncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// Flush does what is better done before a component stops. It brings to the
// disk what was written by now, the component's writes too: what then is left
// for [Manager.Seal] is what was written since. And it looks at what the
// rehearsal has made: nobody else writes there, so afterwards it is enough that
// the files are still the same. It waits no longer than until ctx ends.
func (m *Manager) Flush(ctx context.Context, component string) error {
	done := make(chan error, 1)
	go func() { done <- syncFileSystem(m.root) }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		if err != nil {
			return err
		}
	}
	k, err := m.known(component)
	if err != nil {
		return err
	}
	for _, t := range k.trees {
		if t.still, err = seen(ctx, t.files()); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile replaces a file durably. What a crash leaves of the new one is
// written over by the next.
func replaceFile(name string, data []byte) error {
	f, err := os.OpenFile(name+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return durable.Commit(f, name, 0o600)
}

// writeChecked writes a value as JSON behind a digest of it.
func writeChecked(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return replaceFile(name, fmt.Appendf(nil, "%x\n%s", sha256.Sum256(data), data))
}

// readChecked fails unless the file is as it was written.
func readChecked(name string, value any) error {
	file, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	sum, data, _ := bytes.Cut(file, []byte("\n"))
	if fmt.Sprintf("%x", sha256.Sum256(data)) != string(sum) {
		return ErrDamaged
	}
	return json.Unmarshal(data, value)
}
