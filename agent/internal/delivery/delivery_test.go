package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/agent/internal/delivery"
	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/fetch"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const component = "application/a"

// patience is how long a test waits for what must happen at last.
const patience = 30 * time.Second

// A book is the manager as far as deliveries see it.
type book struct {
	mu     sync.Mutex
	view   engine.View
	wishes engine.Wishes
}

func (b *book) View(string) (engine.View, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.view
	v.Component, v.Wish, v.Delivery, v.Inactive = component, b.wishes.Wish, b.wishes.Delivery, b.wishes.Inactive
	return v, nil
}

func (b *book) Want(_ string, change func(*engine.Wishes)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.wishes)
	return nil
}

func (b *book) delivery() engine.Delivery {
	v, _ := b.View(component)
	return v.Delivery
}

// A device is a desk on a disk; restart is a new process.
type device struct {
	*book
	*delivery.Desk
	content *content.Store
	dir     string
	reserve int64
}

func newDevice(t *testing.T) *device {
	t.Helper()
	d := &device{book: &book{}, dir: t.TempDir()}
	d.start(t)
	t.Cleanup(func() { d.Close() })
	return d
}

func (d *device) start(t *testing.T) {
	t.Helper()
	var err error
	if d.content, err = content.Open(d.dir, d.reserve); err != nil {
		t.Fatal(err)
	}
	d.Desk = delivery.New(delivery.Config{
		Book: d.book, Content: d.content, Collect: d.collect, Judge: judge, Platform: pack.Platform{OS: "linux", Arch: "amd64"}, Log: slog.New(slog.DiscardHandler),
		Locate: func(uri, _, _ string) (delivery.Remote, error) {
			r, err := fetch.NewRemote(uri, fetch.Config{Store: d.content, Patience: 5 * time.Second})
			if err != nil {
				return nil, err
			}
			return r, nil
		},
	})
}

// collect is what an agent does that nothing is installed on.
func (d *device) collect(context.Context, string) error {
	_, err := d.content.Collect(nil)
	return err
}

// freed waits until no blob is on the disk.
func (d *device) freed(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(d.dir, "*", "*"))
		if err != nil || len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("these are left: %v", left)
		}
	}
}

func (d *device) restart(t *testing.T) {
	t.Helper()
	d.Close()
	d.start(t)
	d.Resume([]string{component})
}

func judge(err error) string {
	var space *content.SpaceError
	switch {
	case errors.As(err, &space):
		return engine.NoStorage
	case errors.Is(err, fetch.ErrNotFound):
		return engine.NotFound
	case errors.Is(err, fetch.ErrURI):
		return engine.BadURI
	case errors.Is(err, fetch.ErrUnreachable), errors.Is(err, delivery.ErrLost):
		return engine.ConnectionLost
	case errors.Is(err, content.ErrDigest), errors.Is(err, pack.ErrDigest), errors.Is(err, content.ErrSize), errors.Is(err, io.ErrUnexpectedEOF):
		return engine.BadIntegrity
	case errors.Is(err, delivery.ErrUnsupported):
		return engine.Unsupported
	}
	return engine.DeviceError
}

// await waits until the delivery has come to a state with a result.
func (d *device) await(t *testing.T, state, result string) engine.Delivery {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		got := d.delivery()
		if got.State == state && got.Result == result {
			return got
		}
		if time.Now().After(end) {
			t.Fatalf("delivery %+v, want %q with result %q", got, state, result)
		}
	}
}

// partial is how many bytes of blobs are here that are not whole.
func (d *device) partial() (bytes int64) {
	paths, _ := filepath.Glob(filepath.Join(d.dir, "partial", "*"))
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// whole checks that all blobs of a package are here, also after others have been
// cleared away.
func (d *device) whole(t *testing.T, p *pack.Package) {
	t.Helper()
	if _, err := d.content.Collect(nil); err != nil {
		t.Fatal(err)
	}
	for _, b := range append(p.Blobs(), p.Descriptor()) {
		if !d.content.Has(b.Digest) {
			t.Errorf("blob %s is missing", b.Digest)
		}
	}
}

// build makes a package with an artifact of that many bytes, and returns its
// layout directory and single-file form.
func build(t *testing.T, name string, size int) (p *pack.Package, dir string, file []byte) {
	t.Helper()
	source := t.TempDir()
	recipe := fmt.Sprintf("type = \"application\"\nname = %q\nversion = \"2.0.0\"\n[[artifact]]\npath = \"program\"\n", name)
	noise := make([]byte, size)
	state := uint32(1)
	for i := range noise { // gzip must not shrink it
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	for name, b := range map[string][]byte{"tranquil.toml": []byte(recipe), "program": noise} {
		if err := os.WriteFile(filepath.Join(source, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := pack.ReadRecipe(source)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "layout")
	if p, err = r.Build(dir); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := pack.WriteTar(&b, dir); err != nil {
		t.Fatal(err)
	}
	return p, dir, b.Bytes()
}

// A site is an HTTP server with a file and, as a registry, its package.
type site struct {
	*httptest.Server
	from  atomic.Int64  // what was asked for last
	stall chan struct{} // not nil: the answer stops after half of the file, until it is closed
}

func serve(t *testing.T, dir string, file []byte) *site {
	t.Helper()
	s := &site{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /p.tar", func(w http.ResponseWriter, r *http.Request) {
		var from int64
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		s.from.Store(from)
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(&brake{w, s, r.Context(), int64(len(file)) / 2}, r, "", time.Time{}, bytes.NewReader(file))
	})
	mux.HandleFunc("GET /v2/application/a/{kind}/{digest}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(r.PathValue("digest"), "sha256:")))
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// A brake may stop in the middle.
type brake struct {
	http.ResponseWriter
	site *site
	ctx  context.Context
	left int64
}

func (c *brake) Write(b []byte) (int, error) {
	if c.left -= int64(len(b)); c.left < 0 && c.site.stall != nil {
		c.ResponseWriter.(http.Flusher).Flush()
		select {
		case <-c.site.stall:
		case <-c.ctx.Done():
		}
	}
	return c.ResponseWriter.Write(b)
}

// TestPull fetches a package by its manifest and as a single file, and has it
// installed.
func TestPull(t *testing.T) {
	p, dir, file := build(t, "a", 300_000)
	s := serve(t, dir, file)
	for _, path := range []string{"/p.tar", "/v2/application/a/manifests/" + p.Digest} {
		d := newDevice(t)
		if err := d.Pull(component, s.URL+path, "", "", false); err != nil {
			t.Fatal(err)
		}
		got := d.await(t, engine.Delivered, "")
		if got.Package != p.Digest || got.Version != "2.0.0" || got.Since == 0 {
			t.Errorf("%s: %+v", path, got)
		}
		d.whole(t, p)
		if err := d.Install(component, true); err != nil {
			t.Fatal(err)
		}
		if d.wishes.Wish.Package != p.Digest || !d.wishes.Inactive {
			t.Errorf("%s became %+v", path, d.wishes)
		}
		d.view.Outcome = &engine.Outcome{Wish: d.wishes.Wish, Result: engine.TurnedBack, Cause: "sick"}
		v, _ := d.View(component)
		d.Observe(v)
		if got := d.await(t, engine.Delivered, engine.InstallFailed); got.Reason != "sick" {
			t.Errorf("%+v", got)
		}
		d.whole(t, p)
		if err := d.Install(component, true); err != nil {
			t.Fatal(err)
		}
		d.view.Outcome = &engine.Outcome{Wish: d.wishes.Wish, Result: engine.Updated}
		v, _ = d.View(component)
		d.Observe(v)
		if got := d.await(t, "", engine.Succeeded); got.Since == 0 {
			t.Errorf("%+v", got)
		}
	}
}

// TestInstallingSurvives: after a restart the update that is in the journal ends
// first, whatever has been wished for meanwhile.
func TestInstallingSurvives(t *testing.T) {
	d := newDevice(t)
	ours := engine.Wish{Package: "p", Attempt: 1}
	d.wishes = engine.Wishes{Wish: engine.Wish{Version: "9.0.0"}, Delivery: engine.Delivery{State: engine.Installing, Wish: ours}}
	d.restart(t)
	d.await(t, engine.Installing, "")
	d.view.Outcome = &engine.Outcome{Wish: ours, Result: engine.Updated}
	v, _ := d.View(component)
	d.Observe(v)
	d.await(t, "", engine.Succeeded)
}

// TestInactiveIsForgotten: what is installed after a removal runs.
func TestInactiveIsForgotten(t *testing.T) {
	d := newDevice(t)
	d.wishes.Inactive = true
	for _, installed := range []string{"1.0.0", ""} {
		d.view.Installed.Version = installed
		v, _ := d.View(component)
		d.Observe(v)
		if d.wishes.Inactive != (installed != "") {
			t.Errorf("installed %q, inactive %v", installed, d.wishes.Inactive)
		}
	}
}

// TestFasterThanResume has a server push before the agent has looked what it was
// about: that goes on.
func TestFasterThanResume(t *testing.T) {
	_, _, file := build(t, "a", 100_000)
	d := newDevice(t)
	s, err := d.Push(component, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(file[:50_000]); err != nil {
		t.Fatal(err)
	}
	d.Resume([]string{component})
	if _, err := s.Write(file[50_000:]); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d.await(t, engine.Delivered, "")
}

// TestPullGoesOn ends the process in the middle of a single file. The next one
// does not fetch again what is here.
func TestPullGoesOn(t *testing.T) {
	p, dir, file := build(t, "a", 4_000_000)
	s := serve(t, dir, file)
	s.stall = make(chan struct{})
	d := newDevice(t)
	if err := d.Pull(component, s.URL+"/p.tar", "", "", false); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); d.partial() < int64(len(file))/3; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("only %d bytes have come", d.partial())
		}
	}
	d.Close()
	close(s.stall)
	if got := d.delivery(); got.State != engine.Downloading || got.Package != p.Digest {
		t.Fatalf("%+v", got)
	}
	have := d.partial()
	d.start(t)
	d.Resume([]string{component})
	d.await(t, engine.Delivered, "")
	d.whole(t, p)
	if from := s.from.Load(); from < have {
		t.Errorf("%d bytes were here, but it went on from byte %d", have, from)
	}
	d.restart(t)
	d.await(t, engine.Delivered, "")
	d.whole(t, p)
}

func TestPullFails(t *testing.T) {
	_, dir, file := build(t, "a", 100_000)
	_, _, other := build(t, "b", 100)
	broken := bytes.Clone(file)
	broken[len(broken)/2] ^= 1
	for name, tt := range map[string]struct {
		file   []byte
		path   string
		result string
	}{
		"not there":       {file, "/other", engine.NotFound},
		"broken":          {broken, "/p.tar", engine.BadIntegrity},
		"cut off":         {file[:len(file)/2], "/p.tar", engine.BadIntegrity},
		"another's":       {other, "/p.tar", engine.Unsupported},
		"no package":      {[]byte(strings.Repeat("hello", 1000)), "/p.tar", engine.Unsupported},
		"nothing":         {nil, "/p.tar", engine.BadIntegrity},
		"manifest of b":   {file, "/v2/application/a/manifests/1.0.0", engine.NotFound},
		"nobody is there": {file, "", engine.ConnectionLost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, dir, tt.file)
			uri := s.URL + tt.path
			if tt.path == "" {
				s.Close()
				uri += "/p.tar"
			}
			d := newDevice(t)
			if err := d.Pull(component, uri, "", "", false); err != nil {
				t.Fatal(err)
			}
			if got := d.await(t, "", tt.result); got.Reason == "" {
				t.Errorf("no reason: %+v", got)
			}
			if freed, err := d.content.Collect(nil); err != nil {
				t.Errorf("%d, %v", freed, err)
			}
		})
	}
}

// TestPush sends a package in pieces.
func TestPush(t *testing.T) {
	p, _, file := build(t, "a", 3_000_000)
	d := newDevice(t)
	push := func(b []byte) error {
		s, err := d.Push(component, int64(len(b)), false)
		if err != nil {
			return err
		}
		for len(b) > 0 {
			n := min(1024, len(b))
			if _, err := s.Write(b[:n]); err != nil {
				s.Abort(err)
				return err
			}
			b = b[n:]
		}
		return s.Close()
	}
	if err := push(file); err != nil {
		t.Fatal(err)
	}
	d.await(t, engine.Delivered, "")
	d.whole(t, p)
	if err := push(file); !errors.Is(err, engine.ErrNotNow) {
		t.Errorf("a second package: %v", err)
	}
	d.restart(t)
	d.await(t, engine.Delivered, "")
	if err := d.Drop(component, engine.CancelledByUser); err != nil {
		t.Fatal(err)
	}
	d.await(t, "", engine.CancelledByUser)
	d.freed(t)
	broken := bytes.Clone(file)
	broken[len(broken)-100_000] ^= 1
	if err := push(broken); err == nil {
		t.Error("a package that was altered is taken")
	}
	d.await(t, "", engine.BadIntegrity)
	if err := push([]byte("hello")); err == nil {
		t.Error("something else is taken")
	}
	if got := d.await(t, "", engine.BadIntegrity); got.Number != 3 {
		t.Errorf("%+v", got)
	}
	d.freed(t)
	if err := push(file); err != nil {
		t.Fatal(err)
	}
	d.await(t, engine.Delivered, "")
}

// TestPushBreaksOff has the server, and then the device, end in the middle.
func TestPushBreaksOff(t *testing.T) {
	p, _, file := build(t, "a", 300_000)
	d := newDevice(t)
	begin := func() engine.Push {
		t.Helper()
		s, err := d.Push(component, 0, false)
		if err == nil {
			_, err = s.Write(file[:100_000])
		}
		if err != nil {
			t.Fatal(err)
		}
		d.await(t, engine.Downloading, "")
		return s
	}
	begin().Abort(errors.New("silence"))
	d.await(t, "", engine.ConnectionLost)
	s := begin()
	d.restart(t)
	d.await(t, "", engine.ConnectionLost)
	if _, err := s.Write(file[100_000:]); err == nil {
		t.Error("a process that has ended takes more")
	}
	s = begin()
	if err := d.Drop(component, ""); err != nil {
		t.Fatal(err)
	}
	s.Abort(errors.New("dropped"))
	s = begin() // while the one before may still be ending
	if _, err := s.Write(file[100_000:]); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d.await(t, engine.Delivered, "")
	d.whole(t, p)
}

// A hooked book has something happen as soon as there is no delivery any more.
type hooked struct {
	*book
	after func()
}

func (h *hooked) Want(component string, change func(*engine.Wishes)) error {
	err := h.book.Want(component, change)
	if after := h.after; after != nil && h.delivery().State == "" {
		h.after = nil
		after()
	}
	return err
}

// TestDroppedWhileTheNextBegins: that one goes on.
func TestDroppedWhileTheNextBegins(t *testing.T) {
	p, _, file := build(t, "a", 100_000)
	d := newDevice(t)
	h := &hooked{book: d.book}
	c := d.Config
	c.Book = h
	desk := delivery.New(c)
	defer desk.Close()
	if _, err := desk.Push(component, 0, true); err != nil {
		t.Fatal(err)
	}
	var next engine.Push
	var begun error
	h.after = func() { next, begun = desk.Push(component, 0, true) }
	if err := errors.Join(desk.Drop(component, ""), begun); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Write(file); err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	d.await(t, engine.Delivered, "")
	d.whole(t, p)
}

// TestNoRoom refuses what does not fit, before it comes.
func TestNoRoom(t *testing.T) {
	_, dir, file := build(t, "a", 100_000)
	s := serve(t, dir, file)
	d := &device{book: &book{}, dir: t.TempDir(), reserve: 1 << 60}
	d.start(t)
	defer d.Close()
	if _, err := d.Push(component, 100, false); !errors.Is(err, engine.ErrNoRoom) {
		t.Errorf("a push that does not fit: %v", err)
	}
	d.await(t, "", engine.NoStorage)
	if err := d.Pull(component, s.URL+"/p.tar", "", "", false); err != nil {
		t.Fatal(err)
	}
	d.await(t, "", engine.NoStorage)
	if err := d.Pull(component, "nonsense", "", "", false); err == nil {
		t.Error("a URI that is none is taken")
	}
	d.await(t, "", engine.BadURI)
}
