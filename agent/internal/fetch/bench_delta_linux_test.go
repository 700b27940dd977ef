package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// BenchmarkSmallChange updates a Go component after two of its lines were changed, or
// after there are two more in the middle of it, which moves most of the program. It
// counts what that costs on the air, in relation to the new program compressed by zstd
// -19: the check for updates, trust metadata, manifest, config, the question for a
// delta, and the delta, over CoAP with headers of IP and UDP.
func BenchmarkSmallChange(b *testing.B) {
	if _, err := exec.LookPath("zstd"); err != nil {
		b.Skipf("NOT MEASURED: %v", err)
	}
	b.Run("changed", func(b *testing.B) {
		smallChange(b, "100*time.Millisecond", "250*time.Millisecond", `"never be healthy"`, `"never say that it is well"`)
	})
	b.Run("inserted", func(b *testing.B) {
		const place = "func (a *Adapter) Flags() {"
		smallChange(b, place, place+`
	flag.Func("unit", "unit of the readings, instead of this version's", func(u string) error { a.Unit = u; return nil })
	flag.Var(flag.Lookup("interval").Value, "pause", "the same as interval")`)
	})
}

func smallChange(b *testing.B, replace ...string) {
	a := newAuthor(b)
	before, after := a.compile(b, "1.0.0"), a.compile(b, "2.0.0", replace...)
	old, now := a.publish(b, "1.0.0", before), a.publish(b, "2.0.0", after)
	d := a.device(b)
	d.check(b, "", now.Version)
	d.bring(b, old) // the device has this one
	d.awaitDelta(b, a.server)
	d.bytes.Store(0)
	d.check(b, old.Version, now.Version)
	d.bring(b, now)
	whole, err := exec.Command("zstd", "-19", "-q", "-c", after).Output()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(d.bytes.Load()), "bytes-on-air")
	b.ReportMetric(100*float64(d.bytes.Load())/float64(len(whole)), "%of-zstd19")
	b.ReportMetric(0, "ns/op")
}

// An author publishes signed packages to a file server of their own.
type author struct {
	dir, tool, token string
	server           *fileServer
}

const sensor = "application/sensor-adapter"

func newAuthor(b *testing.B) *author {
	b.Helper()
	a := &author{dir: b.TempDir(), server: serveBlobs(b, "127.0.0.1", here)}
	a.tool = filepath.Join(a.dir, "tranquil")
	a.run(b, "go", "build", "-o", a.tool, "github.com/tranquil-iot/tranquil/sdk/cmd/tranquil")
	var credentials struct{ Publisher string }
	text, err := os.ReadFile(filepath.Join(a.server.dir, "credentials.json"))
	if err == nil {
		err = json.Unmarshal(text, &credentials)
	}
	if err != nil {
		b.Fatal(err)
	}
	a.token = credentials.Publisher
	a.run(b, a.tool, "trust", "init", "company", "--no-passphrase")
	a.run(b, a.tool, "trust", "key", "alice.key", "--no-passphrase")
	a.run(b, a.tool, "trust", "add-author", "company", "alice", "alice.pub", "--component", sensor)
	return a
}

// run runs a command in the author's directory.
func (a *author) run(b *testing.B, command string, args ...string) {
	b.Helper()
	c := exec.Command(command, args...)
	c.Env = append(os.Environ(), "TRANQUIL_FILES=http://127.0.0.1:"+ourHTTP, "TRANQUIL_TOKEN="+a.token)
	if command != "go" {
		c.Dir = a.dir
	}
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v: %s", c.Args, err, out)
	}
}

// compile builds the example component for a MICA, with pieces of its source replaced.
func (a *author) compile(b *testing.B, version string, replace ...string) string {
	b.Helper()
	source, err := filepath.Abs("../../../examples/sensor-adapter/internal/adapter/adapter.go")
	if err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		b.Fatal(err)
	}
	changed, overlay := filepath.Join(a.dir, version+".go"), filepath.Join(a.dir, version+".json")
	replaced := strings.NewReplacer(replace...).Replace(string(text))
	rules, _ := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	for path, content := range map[string]string{changed: replaced, overlay: string(rules)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	dir := filepath.Join(a.dir, version)
	c := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-overlay", overlay, "-o", filepath.Join(dir, "sensor-adapter"), "github.com/tranquil-iot/tranquil/examples/sensor-adapter/v2")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm", "GOARM=7")
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "sensor-adapter")
}

// A release is a package that was published.
type release struct {
	*pack.Package
	Version string
}

func (a *author) publish(b *testing.B, version, program string) release {
	b.Helper()
	recipe := fmt.Sprintf("type = \"application\"\nname = \"sensor-adapter\"\nversion = %q\n[settings]\ncommand = [\"./sensor-adapter\"]\n[[artifact]]\npath = \"sensor-adapter\"\nos = \"linux\"\narch = \"arm\"\nvariant = \"v7\"\n", version)
	if err := os.WriteFile(filepath.Join(filepath.Dir(program), pack.RecipeFile), []byte(recipe), 0o600); err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(a.dir, version+".tar")
	a.run(b, a.tool, "package", "build", filepath.Dir(program), "-o", file)
	a.run(b, a.tool, "trust", "sign", file, "--key", "alice.key", "--accept", "--root", filepath.Join("company", "root.json"))
	a.run(b, a.tool, "package", "push", file)
	l, err := pack.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return release{l.Package, version}
}

// A gauged device counts what it exchanges.
type gauged struct {
	*Fetcher
	trust *trust.Client
	bases based
	bytes atomic.Int64
}

func (a *author) device(b *testing.B) *gauged {
	b.Helper()
	d := &gauged{}
	store, err := content.Open(b.TempDir(), 0)
	if err != nil {
		b.Fatal(err)
	}
	d.bases = based{store, nil}
	d.Fetcher, err = New(Config{URL: "coap://127.0.0.1:" + ourCoAP, Store: store, Deltas: &d.bases, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return gaugedConn{conn, &d.bytes}, err
	}})
	var root []byte
	if err == nil {
		root, err = os.ReadFile(filepath.Join(a.dir, "company", "root.json"))
	}
	if err == nil {
		d.trust, err = trust.Open(trust.Config{Dir: b.TempDir(), Root: root, Fetch: d.Trust})
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(d.Close)
	return d
}

type gaugedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c gaugedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.bytes.Add(int64(n) + headers)
	}
	return n, err
}

func (c gaugedConn) Write(b []byte) (int, error) {
	c.bytes.Add(int64(len(b)) + headers)
	return c.Conn.Write(b)
}

func (d *gauged) check(b *testing.B, current, want string) {
	b.Helper()
	found, err := d.Check(b.Context(), sensor, current, Platform{OS: "linux", Arch: "arm", Variant: "v7"})
	if err != nil || found.Version != want {
		b.Fatalf("%+v, %v; want %s", found, err, want)
	}
}

// bring does what an update does of a package, and keeps its artifact as a base.
func (d *gauged) bring(b *testing.B, r release) {
	b.Helper()
	manifest, err := d.Manifest(b.Context(), sensor, r.Digest)
	if err != nil || pack.DigestOf(manifest) != r.Digest {
		b.Fatal(err)
	}
	if _, err := d.trust.Verify(b.Context(), trust.Of(r.Package)); err != nil {
		b.Fatal(err)
	}
	for _, blob := range []pack.Descriptor{r.Config, r.Artifacts[0].Descriptor} {
		if err := d.Blob(b.Context(), sensor, blob.Digest, blob.Size, nil); err != nil {
			b.Fatal(err)
		}
	}
	d.bases.bases = []pack.Descriptor{r.Artifacts[0].Descriptor}
}

// awaitDelta waits until the server has made the delta.
func (d *gauged) awaitDelta(b *testing.B, s *fileServer) {
	b.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		hints, err := filepath.Glob(filepath.Join(s.dir, "files", "oci", "deltas", "*.json"))
		if err != nil || len(hints) > 0 {
			return
		}
		if time.Since(began) > 5*time.Minute {
			b.Fatalf("no delta was made: %s", s.Stdout.(*bytes.Buffer).String())
		}
	}
}
