package host

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReserve: what is to stay free of the disk is no room for results, neither
// for what a module writes nor for what a tree is unpacked to.
func TestReserve(t *testing.T) {
	const all = math.MaxInt64 / 2
	for _, mode := range []string{Filter, Tree} {
		step := Step{Module: built("subject"), Mode: mode}
		_, _, err := runOne(t, &Host{Cache: cache, Reserve: all}, step, "x")
		if e := failed(t, err); e.Class != ResourceLimit || !strings.Contains(e.Reason, unix.ENOSPC.Error()) {
			t.Errorf("%s: got %v", mode, e)
		}
	}
	r := &run{host: &Host{Reserve: all}, work: t.TempDir()}
	u := unpacker{stage: &stage{run: r}, ctx: t.Context(), most: 2}
	if e := failed(t, u.count(1)); e.Class != ResourceLimit {
		t.Errorf("unpacked: %v", e)
	}
	r.host.Reserve = 1
	if err := u.count(1); err != nil {
		t.Errorf("with room: %v", err)
	}
}

// ending is a context that ends after it was asked so often.
type ending struct {
	context.Context
	after *int
}

func endsAfter(t *testing.T, n int) context.Context { return ending{t.Context(), &n} }

func (e ending) Err() error {
	if *e.after--; *e.after < 0 {
		return context.Canceled
	}
	return nil
}

// A countedReader counts how often it is read from.
type countedReader struct {
	*strings.Reader
	reads int
}

func halfDocument() *countedReader {
	return &countedReader{Reader: strings.NewReader("[" + strings.Repeat("0,", 1<<20))}
}

func (c *countedReader) Read(p []byte) (int, error) {
	c.reads++
	return c.Reader.Read(p)
}

// TestEndsWithContext: validation, listing and the copies of a run end when
// they are asked to, in the middle of a file.
func TestEndsWithContext(t *testing.T) {
	r := halfDocument()
	if err := validate(endsAfter(t, 3), "json", r); !errors.Is(err, context.Canceled) || r.reads > 3 {
		t.Errorf("validation: %v after %d reads", err, r.reads)
	}
	if err := validate(t.Context(), "json", halfDocument()); errors.Is(err, context.Canceled) || err == nil {
		t.Errorf("validation to the end: %v", err)
	}
	dir := write(t, map[string]string{"a": "", "b": "", "c": ""})
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if entries, err := list(endsAfter(t, 2), root); !errors.Is(err, context.Canceled) {
		t.Errorf("listing: %v, %v", entries, err)
	}
	from, err := os.Create(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	if _, err := from.WriteAt([]byte("x"), 8<<20-1); err != nil {
		t.Fatal(err)
	}
	to, err := os.Create(filepath.Join(dir, "to"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := transfer(endsAfter(t, 3), to, from, 0, 8<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("copy: %v", err)
	}
	if info, err := to.Stat(); err != nil || info.Size() != 3<<20 {
		t.Errorf("copied %v, %v", info.Size(), err)
	}
}
