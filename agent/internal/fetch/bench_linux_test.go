package fetch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
)

// The benchmarks run the real file server, and our fetcher in a process of its own
// beside libcoap's and curl. What they tell are ratios.

const (
	ourCoAP, ourHTTP = "5685", "8081"
	giveUp           = time.Minute // then it counts how far a client has come
	sizeVariable     = "TRANQUIL_FETCH_SIZE"
	urlVariable      = "TRANQUIL_FETCH_URL"
)

// asClient has the process be a client, if a benchmark has started it for that.
func asClient() {
	url, size := os.Getenv(urlVariable), os.Getenv(sizeVariable)
	if url == "" {
		return
	}
	if err := client(url, size); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func client(url, size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, err := content.Open(dir, 0)
	if err != nil {
		return err
	}
	f, err := New(Config{URL: url, Store: store})
	if err != nil {
		return err
	}
	_, digest := randomBlob(n)
	return f.Blob(context.Background(), component, digest, int64(n), nil)
}

// shortPath is the path of a blob that libcoap's client takes: it cuts off what is
// longer than 100 bytes.
func shortPath(digest string) string { return "/v2/application/a/blobs/" + digest }

// A fileServer is the real one, with a blob.
type fileServer struct {
	*exec.Cmd
	dir string
}

// serveBlobs starts the file server at ip, by run, with blobs of these sizes.
func serveBlobs(b *testing.B, ip string, run func(func() error) error, sizes ...int) *fileServer {
	b.Helper()
	s := &fileServer{dir: b.TempDir()}
	blobs := filepath.Join(s.dir, "files", "oci", "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		b.Fatal(err)
	}
	for _, n := range sizes {
		blob, digest := randomBlob(n)
		if err := os.WriteFile(filepath.Join(blobs, strings.TrimPrefix(digest, "sha256:")), blob, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	binary, config := filepath.Join(s.dir, "backend"), filepath.Join(s.dir, "config")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/tranquil-iot/tranquil/backend").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	toml := fmt.Sprintf("[files]\nhttp = %q\ncoap = %q\ninsecure = true\n", net.JoinHostPort(ip, ourHTTP), net.JoinHostPort(ip, ourCoAP))
	if err := os.WriteFile(config, []byte(toml), 0o600); err != nil {
		b.Fatal(err)
	}
	s.Cmd = exec.Command(binary, "files", "--config", config, "--data", s.dir)
	started(b, s.Cmd, run)
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(s.dir, "endpoints.json")); err == nil {
			return s
		}
		if time.Since(began) > time.Minute {
			b.Fatalf("the file server does not listen: %s", s.Stderr)
		}
	}
}

// started starts a server that ends with the benchmark.
func started(b *testing.B, c *exec.Cmd, run func(func() error) error) {
	b.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := run(c.Start); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
}

func here(f func() error) error { return f() }

// A downloader is a command that downloads the blob of a size; it writes it to a
// file, if that is not "".
type downloader func(ip, digest string, size int) (c *exec.Cmd, file string)

func us(ip, _ string, size int) (*exec.Cmd, string) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), urlVariable+"=coap://"+net.JoinHostPort(ip, ourCoAP), fmt.Sprintf("%s=%d", sizeVariable, size))
	return c, ""
}

func libcoap(dir string) downloader {
	return func(ip, digest string, _ int) (*exec.Cmd, string) {
		file := filepath.Join(dir, "libcoap")
		return exec.Command("coap-client-notls", "-B", "600", "-b", "1024", "-o", file, "coap://"+net.JoinHostPort(ip, ourCoAP)+shortPath(digest)), file
	}
}

func curl(dir string) downloader {
	return func(ip, digest string, _ int) (*exec.Cmd, string) {
		file := filepath.Join(dir, "curl")
		return exec.Command("curl", "-sf", "-o", file, "http://"+net.JoinHostPort(ip, ourHTTP)+blobPath(digest)), file
	}
}

// speed runs a download and returns bytes a second: until its end, or until giveUp.
func speed(b *testing.B, run func(func() error) error, d downloader, size int) float64 {
	b.Helper()
	_, digest := randomBlob(size)
	c, file := d(serverIP, digest, size)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	os.Remove(file)
	began := time.Now()
	if err := run(c.Start); err != nil {
		b.Fatal(err)
	}
	patience := giveUp
	if file == "" { // nobody could tell how far it has come
		patience = 10 * giveUp
	}
	slow := time.AfterFunc(patience, func() { c.Process.Kill() })
	err := c.Wait()
	took := time.Since(began)
	came := float64(size)
	if file != "" {
		info, statErr := os.Stat(file)
		if statErr != nil {
			b.Fatalf("%v: %v, %s", c.Args, err, out.String())
		}
		came = float64(info.Size())
	}
	if intime := slow.Stop(); (intime || file == "") && (err != nil || int(came) != size) {
		b.Fatalf("%v: %v, %.0f of %d bytes, %s", c.Args, err, came, size, out.String())
	}
	return came / took.Seconds()
}

// BenchmarkDownload downloads through links of 50 ms there and back, with 32 packets
// of room before the bottleneck.
func BenchmarkDownload(b *testing.B) {
	for _, tool := range []string{"coap-client-notls", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("NOT MEASURED: %v", err)
		}
	}
	t := newTunnel(b)
	t.set(0, 0, 0)
	small, large := 1<<20, 4<<20
	serveBlobs(b, serverIP, t.server.run, small, large)
	for _, mbits := range []float64{1, 10} {
		for _, loss := range []float64{0, 0.01, 0.05} {
			b.Run(fmt.Sprintf("%.0fMbit/s,loss=%.0f%%", mbits, 100*loss), func(b *testing.B) {
				rate, size := mbits*1e6/8, small
				if mbits > 1 {
					size = large
				}
				measure := func(d downloader) float64 {
					t.set(25*time.Millisecond, rate, loss)
					return speed(b, t.client.run, d, size)
				}
				ours := measure(us)
				sent, lost := t.up.count()
				_, lostBack := t.down.count()
				dir := b.TempDir()
				b.ReportMetric(ours/rate, "of-link")
				b.ReportMetric(100*float64(sent-lost-lostBack-(size+1023)/1024)/float64(sent), "%wasted")
				b.ReportMetric(ours/measure(libcoap(dir)), "x-libcoap")
				b.ReportMetric(ours/measure(curl(dir)), "x-curl")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// usage is the processor time that a process has used, and the most memory that it
// had resident, in bytes.
func usage(b *testing.B, pid int) (cpu time.Duration, peak int64) {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
	for _, f := range fields[12:14] { // utime and stime, in hundredths of a second
		ticks, _ := strconv.Atoi(f)
		cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Sscan(rest, &peak)
	return cpu, peak << 10
}

// BenchmarkServer compares the processor time that our file server takes for a MiB
// with that of libcoap's server, both with libcoap's client.
func BenchmarkServer(b *testing.B) {
	if _, err := exec.LookPath("coap-server-notls"); err != nil {
		b.Skipf("NOT MEASURED: %v", err)
	}
	const size, times = 16 << 20, 3
	dir := b.TempDir()
	blob, digest := randomBlob(size)
	file := filepath.Join(dir, "blob")
	if err := os.WriteFile(file, blob, 0o600); err != nil {
		b.Fatal(err)
	}
	ours := serveBlobs(b, "127.0.0.1", here, size)
	theirs := exec.Command("coap-server-notls", "-A", "127.0.0.1", "-p", "5695")
	started(b, theirs, here)
	const theirURL = "coap://127.0.0.1:5695/example_data"
	put := func() error {
		return exec.Command("coap-client-notls", "-B", "120", "-m", "put", "-b", "1024", "-f", file, theirURL).Run()
	}
	if err := put(); err != nil {
		b.Fatal(err)
	}
	perMiB := func(c *exec.Cmd, url string) time.Duration {
		before, _ := usage(b, c.Process.Pid)
		for range times {
			got := filepath.Join(dir, "got")
			out, err := exec.Command("coap-client-notls", "-B", "120", "-b", "1024", "-o", got, url).CombinedOutput()
			if b, _ := os.ReadFile(got); err != nil || !bytes.Equal(b, blob) {
				panic(fmt.Sprintf("%s: %d bytes, %v, %s", url, len(b), err, out))
			}
		}
		after, _ := usage(b, c.Process.Pid)
		return (after - before) / times / (size >> 20)
	}
	us, them := perMiB(ours.Cmd, "coap://127.0.0.1:"+ourCoAP+shortPath(digest)), perMiB(theirs, theirURL)
	b.ReportMetric(float64(us)/float64(them), "x-libcoap")
	b.ReportMetric(us.Seconds()*1000, "ms/MiB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkThousandClients has a thousand devices download at the same time, and tells
// by how much the file server has grown meanwhile.
func BenchmarkThousandClients(b *testing.B) {
	const size, clients = 256 << 10, 1000
	s := serveBlobs(b, "127.0.0.1", here, size)
	blob, digest := randomBlob(size)
	fetchOne := func() error {
		f, err := New(Config{URL: "coap://127.0.0.1:" + ourCoAP, Store: discarding{}})
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Blob(b.Context(), component, digest, int64(len(blob)), nil)
	}
	if err := fetchOne(); err != nil {
		b.Fatal(err)
	}
	_, before := usage(b, s.Process.Pid)
	var all sync.WaitGroup
	failed := make(chan error, clients)
	for range clients {
		all.Go(func() {
			if err := fetchOne(); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
	_, after := usage(b, s.Process.Pid)
	b.ReportMetric(float64(before)/(1<<20), "MiB")
	b.ReportMetric(float64(after-before)/(1<<20), "MiB-more")
	b.ReportMetric(0, "ns/op")
}

// discarding is a store that keeps nothing.
type discarding struct{}

func (discarding) Has(string) bool { return false }

func (discarding) Receive(_ string, _ int64, fill func(have int64, w io.Writer) error) error {
	return fill(0, io.Discard)
}
