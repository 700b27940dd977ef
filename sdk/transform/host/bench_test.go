package host

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// long is how many bytes a long file has here.
func long() int {
	if os.Getenv("TRANQUIL_BENCH_GB") != "" {
		return 1 << 30
	}
	return 64 << 20
}

// BenchmarkSplit compares a file transformed whole with what is left of that
// when a thousandth was appended, or a line inserted in the middle. The
// transform is an ordinary program: Go with fmt, line by line.
func BenchmarkSplit(b *testing.B) {
	dir := b.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(b, os.Mkdir(in, 0o700))
	text := readings(long(), 1)
	middle := bytes.IndexByte(text[len(text)/2:], '\n') + len(text)/2 + 1
	h, step := &Host{Cache: cache}, splitting("wrapped")
	defer h.Close()
	refresh := func() time.Duration {
		must(b, h.Ready(b.Context(), []Step{step}))
		begin := time.Now()
		_, err := h.Refresh(b.Context(), step, in, out, []File{{Path: "log"}}, nil)
		must(b, err)
		return time.Since(begin)
	}
	must(b, os.WriteFile(filepath.Join(in, "log"), text, 0o600))
	whole := refresh()
	must(b, appendTo(filepath.Join(in, "log"), string(readings(len(text)/1000, 2))))
	appended := refresh()
	must(b, os.WriteFile(filepath.Join(in, "log"), bytes.Join([][]byte{text[:middle], text[middle:]}, []byte("{}\n")), 0o600))
	inserted := refresh()
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(len(text))/1e6/whole.Seconds(), "MB/s-whole")
	b.ReportMetric(100*appended.Seconds()/whole.Seconds(), "%append")
	b.ReportMetric(100*inserted.Seconds()/whole.Seconds(), "%insert")
	b.ReportMetric(float64(appended.Milliseconds()), "ms-append")
}

// BenchmarkReady compares the first run of a module by a sandbox that has to
// start, with a filled cache, with one that waits.
func BenchmarkReady(b *testing.B) {
	dir := b.TempDir()
	in := filepath.Join(dir, "in")
	must(b, os.Mkdir(in, 0o700))
	must(b, os.WriteFile(filepath.Join(in, "a.json"), []byte(`{"count":1}`), 0o600))
	h, step := &Host{Cache: cache}, counter(1, 2)
	defer h.Close()
	must(b, h.Ready(b.Context(), []Step{step}))
	h.Close()
	var took [2]time.Duration
	n := 0
	for b.Loop() {
		for ready := range took {
			if ready == 1 {
				must(b, h.Ready(b.Context(), []Step{step}))
			}
			begin := time.Now()
			_, err := h.Refresh(b.Context(), step, in, filepath.Join(dir, "out"), []File{{Path: "a.json"}}, nil)
			must(b, err)
			took[ready] += time.Since(begin)
		}
		n++
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took[0].Seconds()*1000/float64(n), "ms-start")
	b.ReportMetric(took[1].Seconds()*1000/float64(n), "ms-ready")
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "×ready")
}

// BenchmarkThroughput compares one sandbox with the same code run natively, and
// the memory it takes for a short and for a long file.
func BenchmarkThroughput(b *testing.B) {
	step := splitting("wrapped")
	step.Split = ""
	var peak [2]int64
	var rate [2]float64
	for i, size := range []int{10 << 20, long()} {
		text := readings(size, 1)
		dir := b.TempDir()
		must(b, os.WriteFile(filepath.Join(dir, "log"), text, 0o600))
		h := &Host{Cache: cache, Ceiling: Limits{CPU: time.Hour, Wall: time.Hour}}
		report, err := h.Run(b.Context(), []Step{step}, dir, filepath.Join(b.TempDir(), "out"), nil)
		must(b, err)
		peak[i] = report.Memory
		begin := time.Now()
		must(b, native(bufio.NewReader(bytes.NewReader(text)), bufio.NewWriter(io.Discard)))
		rate[0] = float64(len(text)) / 1e6 / report.CPU.Seconds()
		rate[1] = float64(len(text)) / 1e6 / time.Since(begin).Seconds()
	}
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate[0], "MB/s")
	b.ReportMetric(rate[1], "MB/s-native")
	b.ReportMetric(rate[1]/rate[0], "×native")
	b.ReportMetric(float64(peak[0])/1e6, "MB-short")
	b.ReportMetric(float64(peak[1])/1e6, "MB-long")
	b.ReportMetric(float64(resident())/1e6, "MB-host")
}

// native is what the subject does.
func native(r *bufio.Reader, w *bufio.Writer) error {
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			fmt.Fprintf(w, "[%d,%s]\n", 2, line[:len(line)-1])
		}
		if err == io.EOF {
			return w.Flush()
		}
		if err != nil {
			return err
		}
	}
}

// resident is the largest resident memory of this process so far, bytes.
func resident() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(number, 10, 64)
	return n << 10
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
