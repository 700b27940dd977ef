package host

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPrune: what was not used for longest leaves; so does, with all its module,
// what may be somebody else's.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	compiled := filepath.Join(dir, compiledName)
	const size = 2 * entryLeast
	entry := func(name string, size int64, age time.Duration, mode os.FileMode) {
		path := filepath.Join(compiled, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Truncate(path, size))
		must(t, os.Chmod(path, mode))
		at := time.Now().Add(-age)
		must(t, os.Chtimes(path, at, at))
		must(t, os.Chtimes(filepath.Dir(path), at, at))
	}
	entry("new/v2", size, time.Minute, 0o600)
	entry("older/v2", 1, time.Hour, 0o600)
	entry("oldest/v2", 1, 4*time.Hour, 0o600)
	entry("keep/v2", size, 5*time.Hour, 0o600)
	entry("keep/v2.1.tmp", size, 5*time.Hour, 0o600) // of a sandbox that was killed
	entry("anybody's/v2", 1, 0, 0o666)
	must(t, os.MkdirAll(filepath.Join(compiled, "link"), 0o700))
	must(t, os.Symlink("/etc/passwd", filepath.Join(compiled, "link", "v2")))
	must(t, os.WriteFile(filepath.Join(compiled, "file"), nil, 0o600))
	if os.Geteuid() == 0 {
		entry("foreign/v2", 1, 0, 0o600)
		must(t, os.Chown(filepath.Join(compiled, "foreign/v2"), 1, 1))
	} else {
		t.Log("NOT CHECKED: entries of others, for it takes root")
	}
	must(t, os.Chmod(dir, 0o755))
	for _, test := range []struct {
		keep        string
		most, limit int64
		there       bool
		want        []string
	}{
		{"keep", size, size + entryLeast, true, []string{"keep/v2", "new/v2", "older/v2"}},
		{"none", size, size, false, []string{"keep/v2"}}, // which was used last
		{"keep", size - 1, size, false, nil},
	} {
		there, err := prune(dir, test.keep, test.most, test.limit)
		if err != nil || there != test.there {
			t.Errorf("%s is there: %v, %v", test.keep, there, err)
		}
		if diff := cmp.Diff(test.want, slices.Sorted(maps.Keys(read(t, compiled)))); diff != "" {
			t.Error(diff)
		}
	}
	if mode := stat(t, dir).Mode().Perm(); mode != 0o700 {
		t.Errorf("mode of the cache is %v", mode)
	}
	if os.Geteuid() == 0 {
		must(t, os.Chown(dir, 1, 1))
		if _, err := prune(dir, "keep", size, size); err == nil {
			t.Error("a cache of somebody else is used")
		}
	}
}

// compiledFiles are the files of compiled code in a cache.
func compiledFiles(t *testing.T, cache string) (files []string) {
	t.Helper()
	must(t, filepath.WalkDir(filepath.Join(cache, compiledName), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(name) == "" {
			files = append(files, name)
		}
		return err
	}))
	return files
}

// oneCompiled is the only such file, and what is in it.
func oneCompiled(t *testing.T, cache string) (string, []byte) {
	t.Helper()
	files := compiledFiles(t, cache)
	if len(files) != 1 {
		t.Fatalf("the cache has %v", files)
	}
	code, err := os.ReadFile(files[0])
	must(t, err)
	return files[0], code
}

// TestDamagedCache: whatever bit of compiled code is flipped, the module is
// compiled again and runs as before.
func TestDamagedCache(t *testing.T) {
	if !compiles {
		t.Skip("the engine has no compiler for this processor")
	}
	h := &Host{Cache: filepath.Join(t.TempDir(), "cache")}
	step := Step{Module: newHistory(t).step.Module}
	runs := func() error {
		got, _, err := runOne(t, h, step, "text")
		if err == nil && got != "TEXT" {
			err = fmt.Errorf("got %q", got)
		}
		return err
	}
	must(t, runs())
	name, good := oneCompiled(t, h.Cache)
	const head = 100 // with all that is not code
	for at := 0; at < len(good); at++ {
		if at > head && at < len(good)-10 && at%max(1, len(good)/60) != 0 {
			continue
		}
		bad := bytes.Clone(good)
		bad[at] ^= 1 << (at % 8)
		must(t, os.WriteFile(name, bad, 0o600))
		if err := runs(); err != nil {
			t.Fatalf("byte %d of %d: %v", at, len(good), err)
		}
		if healed, err := os.ReadFile(name); err != nil || !bytes.Equal(healed, good) {
			t.Fatalf("byte %d of %d was not compiled again: %v", at, len(good), err)
		}
	}
	for what, damage := range map[string]func() error{
		"code cut":      func() error { return os.Truncate(name, int64(len(good)/2)) },
		"code gone":     func() error { return os.Remove(name) },
		"code empty":    func() error { return os.Truncate(name, 0) },
		"checksum cut":  func() error { return os.Truncate(name+sumSuffix, 3) },
		"checksum gone": func() error { return os.Remove(name + sumSuffix) },
	} {
		must(t, damage())
		if err := runs(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if healed, err := os.ReadFile(name); err != nil || !bytes.Equal(healed, good) {
			t.Errorf("%s: it was not compiled again: %v", what, err)
		}
	}
}

// TestNoRoomForCompiled: compiled code leaves the reserve of the disk alone as
// well, and the cache its bound; a module that finds no place there runs all
// the same, and it is said once.
func TestNoRoomForCompiled(t *testing.T) {
	if !compiles {
		t.Skip("the engine has no compiler for this processor")
	}
	var log bytes.Buffer
	h := &Host{Cache: filepath.Join(t.TempDir(), "cache"), Reserve: math.MaxInt64 / 2, Log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 2 {
		must(t, h.Compile(t.Context(), assembled(t, idle)))
	}
	if files := compiledFiles(t, h.Cache); len(files) != 0 {
		t.Errorf("the cache has %v", files)
	}
	if said := strings.Count(log.String(), "not kept"); said != 1 || !strings.Contains(log.String(), "no room") {
		t.Errorf("said %d times: %s", said, log.String())
	}
	log.Reset()
	h = &Host{Cache: filepath.Join(t.TempDir(), "cache"), Log: h.Log}
	must(t, h.Compile(t.Context(), assembled(t, idle)))
	h.Reserve = math.MaxInt64 / 2
	must(t, h.Compile(t.Context(), assembled(t, idle)))
	if oneCompiled(t, h.Cache); log.Len() > 0 {
		t.Errorf("what is there was not used: %s", log.String())
	}
}

// TestCompiledIsTooLong: code that is longer than it may be is not kept, and
// no part of it.
func TestCompiledIsTooLong(t *testing.T) {
	if !compiles {
		t.Skip("the engine has no compiler for this processor")
	}
	var log bytes.Buffer
	h := &Host{Cache: filepath.Join(t.TempDir(), "cache"), Log: slog.New(slog.NewTextHandler(&log, nil))}
	m, err := h.module(Step{Module: assembled(t, idle)})
	must(t, err)
	h.natives.Store(m.sum, true) // then the host does not say how long it may be
	file, err := os.Open(m.path)
	must(t, err)
	defer file.Close()
	w, err := h.startSandbox(t.Context(), file, setup{SHA256: m.sum, Memory: pageSize, CPU: 60, Cache: 10}, time.Minute)
	must(t, err)
	w.close()
	if !strings.Contains(log.String(), "file too") { // large; the line is cut
		t.Errorf("logged: %s", log.String())
	}
	if _, err := os.Stat(filepath.Join(h.Cache, compiledName, entryName(m.sum))); !os.IsNotExist(err) {
		t.Errorf("a part is left: %v", err)
	}
}

// TestCacheIsBounded: a module that is not there yet has older ones leave, so
// that the whole never has more than its bound, and gets as much as it may need
// and no more.
func TestCacheIsBounded(t *testing.T) {
	h := &Host{Cache: t.TempDir()}
	old := filepath.Join(h.Cache, compiledName, "old", "code")
	must(t, os.MkdirAll(filepath.Dir(old), 0o700))
	must(t, os.WriteFile(old, nil, 0o600))
	must(t, os.Truncate(old, cacheLimit-entryLimit))
	large := setup{Dir: h.Cache, SHA256: [32]byte{1}}
	release, err := h.makeRoom(&large, maxModule)
	must(t, err)
	if large.Cache != entryLimit {
		t.Errorf("a large module gets %d bytes", large.Cache)
	}
	if _, err := os.Stat(old); err != nil {
		t.Errorf("what has room has gone: %v", err)
	}
	small := setup{Dir: h.Cache, SHA256: [32]byte{2}}
	releaseSmall, err := h.makeRoom(&small, 1000)
	must(t, err)
	if small.Cache < 16_000 || small.Cache > 2<<20 {
		t.Errorf("a small module gets %d bytes", small.Cache)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("with two that are being compiled there is more than the cache may have")
	}
	release()
	releaseSmall()
	if h.caching.under != 0 {
		t.Errorf("%d bytes are still promised", h.caching.under)
	}
}

// TestSharedCache: hosts that share a cache, which is spoiled and emptied under
// their hands, do not hinder each other.
func TestSharedCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	module := newHistory(t).step.Module
	for round := range 5 {
		var group sync.WaitGroup
		for i := range 4 {
			in, out := write(t, map[string]string{"f": "text"}), filepath.Join(t.TempDir(), "out")
			group.Go(func() {
				if i == 0 && round%2 == 0 {
					os.RemoveAll(filepath.Join(dir, compiledName))
				}
				_, err := (&Host{Cache: dir}).Run(t.Context(), []Step{{Module: module, From: 1, To: 2}}, in, out, nil)
				if got, _ := os.ReadFile(filepath.Join(out, "f")); err != nil || string(got) != "TEXT" {
					t.Errorf("round %d: %q, %v", round, got, err)
				}
			})
		}
		group.Wait()
	}
}

// TestKilledSandbox: whenever a sandbox is killed, the next one finds a cache
// that it can use, and no part of what was not finished is taken for the whole.
func TestKilledSandbox(t *testing.T) {
	h := &Host{Cache: filepath.Join(t.TempDir(), "cache")}
	step := Step{Module: newHistory(t).step.Module}
	for after := range 20 {
		must(t, os.RemoveAll(filepath.Join(h.Cache, compiledName)))
		killed := make(chan bool)
		go func() {
			time.Sleep(time.Duration(after) * time.Millisecond)
			for _, dir := range sandboxes(t, os.Getpid()) {
				pid, _ := strconv.Atoi(filepath.Base(dir))
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			close(killed)
		}()
		_, _, err := runOne(t, h, step, "text")
		<-killed
		if err != nil && failed(t, err).Class != ResourceLimit {
			t.Errorf("killed after %d ms: %v", after, err)
		}
		if got, _, err := runOne(t, h, step, "text"); err != nil || got != "TEXT" {
			t.Errorf("after one that was killed after %d ms: %q, %v", after, got, err)
		}
	}
}
