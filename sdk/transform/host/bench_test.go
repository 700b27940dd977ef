package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// long is how many bytes a long file has here: a gigabyte, or as many megabytes
// as TRANQUIL_BENCH_MB says.
func long() int64 {
	if mb, err := strconv.Atoi(os.Getenv("TRANQUIL_BENCH_MB")); err == nil {
		return int64(mb) << 20
	}
	return 1 << 30
}

// writeReadings makes a file of lines of which no two parts are alike.
func writeReadings(t testing.TB, name string, size int64) int64 {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	must(t, err)
	written := int64(0)
	for seed := uint64(size); written < size; seed++ {
		n, err := f.Write(readings(int(min(size-written, 4<<20)), seed))
		must(t, err)
		written += int64(n)
	}
	must(t, f.Close())
	return written
}

// BenchmarkSplit compares a file transformed whole with what is left of that
// when a thousandth was appended, or a line inserted in the middle, and with a
// file that did not change. The transform is an ordinary program: Go with fmt,
// line by line.
func BenchmarkSplit(b *testing.B) {
	dir := b.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(b, os.Mkdir(in, 0o700))
	log := filepath.Join(in, "log")
	h, step := &Host{Cache: cache}, splitting("wrapped")
	defer h.Close()
	refresh := func() time.Duration {
		must(b, h.Ready(b.Context(), []Step{step}))
		begin := time.Now()
		_, err := h.Refresh(b.Context(), step, in, out, []File{{Path: "log"}}, nil)
		must(b, err)
		return time.Since(begin)
	}
	size := writeReadings(b, log, long())
	whole := refresh()
	known := refresh()
	writeReadings(b, log, size/1000)
	appended := refresh()
	insert(b, log, size/2)
	inserted := refresh()
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(size)/1e6/whole.Seconds(), "MB/s-whole")
	b.ReportMetric(100*known.Seconds()/whole.Seconds(), "%unchanged")
	b.ReportMetric(100*appended.Seconds()/whole.Seconds(), "%append")
	b.ReportMetric(100*inserted.Seconds()/whole.Seconds(), "%insert")
	b.ReportMetric(float64(appended.Milliseconds()), "ms-append")
}

// insert puts a line behind the one at an offset.
func insert(t testing.TB, name string, at int64) {
	t.Helper()
	from, err := os.Open(name)
	must(t, err)
	defer from.Close()
	to, err := os.Create(name + ".new")
	must(t, err)
	_, err = io.CopyN(to, from, at)
	must(t, err)
	r := bufio.NewReader(from)
	line, err := r.ReadBytes('\n')
	must(t, err)
	_, err = to.Write(append(line, "{}\n"...))
	must(t, err)
	_, err = r.WriteTo(to)
	must(t, errors.Join(err, to.Close(), os.Rename(name+".new", name)))
}

// BenchmarkStart compares the first run of a module by a sandbox that has to
// start, with a filled cache, with one that waits, and with the start of a
// process at all: this program, which ends at once.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	in := filepath.Join(dir, "in")
	must(b, os.Mkdir(in, 0o700))
	must(b, os.WriteFile(filepath.Join(in, "a.json"), []byte(`{"count":1}`), 0o600))
	h, step := &Host{Cache: cache}, counter(1, 2)
	defer h.Close()
	must(b, h.Ready(b.Context(), []Step{step}))
	h.Close()
	var process time.Duration
	var took [2]time.Duration
	n := 0
	for b.Loop() {
		begin := time.Now()
		exec.Command(os.Args[0], "end-at-once").Run() // that it does not end well is fine
		process += time.Since(begin)
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
	b.ReportMetric(took[0].Seconds()/process.Seconds(), "×process")
}

// BenchmarkThroughput compares one sandbox with the same code run natively, and
// the memory of sandbox and host, as the system counts it, for a file of 10 MB
// and for a long one.
func BenchmarkThroughput(b *testing.B) {
	step := splitting("wrapped")
	step.Split = ""
	var sandbox, self [2]int64
	var perNative, rate float64
	for i, size := range []int64{10 << 20, long()} {
		dir := b.TempDir()
		size = writeReadings(b, filepath.Join(dir, "log"), size)
		h := &Host{Cache: cache, Ceiling: Limits{CPU: time.Hour, Wall: time.Hour}}
		must(b, h.Compile(b.Context(), step.Module))
		var peak peaks
		report := peak.run(b, h, step, dir)
		sandbox[i], self[i] = peak.sandbox, peak.host
		perNative = report.CPU.Seconds() / native(b, filepath.Join(dir, "log")).Seconds()
		rate = float64(size) / 1e6 / report.CPU.Seconds()
	}
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate, "MB/s")
	b.ReportMetric(perNative, "×native")
	b.ReportMetric(float64(sandbox[0])/1e6, "MB-sandbox-short")
	b.ReportMetric(float64(sandbox[1])/float64(sandbox[0]), "×sandbox-long")
	b.ReportMetric(float64(self[0])/1e6, "MB-host-short")
	b.ReportMetric(float64(self[1])/float64(self[0]), "×host-long")
}

// native does what the subject does, from file to file, and returns the CPU
// time it took.
func native(b *testing.B, name string) time.Duration {
	in, err := os.Open(name)
	must(b, err)
	defer in.Close()
	out, err := os.Create(name + ".native")
	must(b, err)
	defer out.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := threadTime(b)
	r, w := bufio.NewReader(in), bufio.NewWriter(out)
	for err == nil {
		var line []byte
		if line, err = r.ReadBytes('\n'); len(line) > 0 {
			fmt.Fprintf(w, "[%d,%s]\n", 2, bytes.TrimSuffix(line, []byte("\n")))
		}
	}
	if err != io.EOF {
		b.Fatal(err)
	}
	must(b, w.Flush())
	return threadTime(b) - begin
}
