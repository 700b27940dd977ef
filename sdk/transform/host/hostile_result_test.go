package host

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// impostors are what a sandbox can become that was taken over, by the name of the
// test binary. They do not end of themselves.
var impostors = map[string]func(*net.UnixConn){
	"deaf":    answerAlways,
	"flooder": floodResult,
	"forger":  writeLater,
	"log":     holdLog,
	"parent":  leaveChild,
	"quitter": endSilently,
}

// holdLog answers as a sandbox does, and then neither ends nor lets go of its log.
func holdLog(host *net.UnixConn) {
	for _, answer := range []outcome{{}, {}, {Class: Trap, Reason: "one\ntwo"}} {
		_ = send(host, answer)
		_, _ = receive(host, &struct{}{})
	}
}

// TestHeldLog: a sandbox that was taken over holds nobody up by its log.
func TestHeldLog(t *testing.T) {
	h := &Host{Cache: cache, Program: impostor(t, "log")}
	_, _, err := runOne(t, h, Step{Module: assembled(t, spinning)}, "x")
	if e := failed(t, err); e.Class != Trap || strings.Contains(e.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

// endSilently ends before it has answered.
func endSilently(host *net.UnixConn) {
	for range 2 {
		_ = send(host, outcome{})
		_, _ = receive(host, &struct{}{})
	}
	os.Exit(0)
}

// TestSilentEnd: there is a reason also if the sandbox gives none.
func TestSilentEnd(t *testing.T) {
	_, _, err := runOne(t, &Host{Cache: cache, Program: impostor(t, "quitter")}, Step{Module: assembled(t, idle)}, "text")
	if e := failed(t, err); e.Class != Crash || e.Reason != "exit status 0" {
		t.Errorf("got %v", e)
	}
}

// TestProgressIsBounded: the offset by which the host sees how far it is belongs
// to the sandbox, too; and it is one of several.
func TestProgressIsBounded(t *testing.T) {
	fd, err := unix.MemfdCreate("in", unix.MFD_CLOEXEC) // in which an offset may be as large as that
	must(t, err)
	in := os.NewFile(uintptr(fd), "in")
	defer in.Close()
	_, err = in.Seek(math.MaxInt64, io.SeekStart)
	must(t, err)
	s := &stage{total: 10, read: 1, run: &run{steps: 1, progress: func(done, total int64) {
		if done != 10 || total != 10 {
			t.Errorf("progress is %d of %d", done, total)
		}
	}}}
	s.tick(in)
	must(t, rewind(in))
	s.tick(in)
}

// floodResult reads its input, and writes more than it may.
func floodResult(host *net.UnixConn) {
	var files []*os.File
	for range 2 {
		_ = send(host, outcome{})
		files, _ = receive(host, &struct{}{})
	}
	_, _ = io.Copy(io.Discard, files[0])
	_, _ = files[1].Write(make([]byte, 3<<20))
	_ = send(host, outcome{})
}

// TestLiftedLimit: a sandbox that was taken over gets no more output accepted
// than any other.
func TestLiftedLimit(t *testing.T) {
	h := &Host{Cache: cache, Program: impostor(t, "flooder"), Ceiling: Limits{Output: 1 << 20}}
	_, _, err := runOne(t, h, Step{Module: assembled(t, idle)}, "text")
	if e := failed(t, err); e.Class != OutputLimit {
		t.Errorf("got %v", e)
	}
}

// writeLater gives a good result each time, and then writes on into those that
// were accepted. As a judge it writes into what it judges.
func writeLater(host *net.UnixConn) {
	var s setup
	_ = send(host, outcome{})
	_, _ = receive(host, &s)
	_ = send(host, outcome{})
	for kept := []*os.File(nil); ; {
		files, err := receive(host, &struct{}{})
		if err != nil {
			return
		}
		if s.Judge != "" {
			kept = files
		} else {
			_, _ = io.Copy(io.Discard, files[0])
			_, _ = files[1].Write([]byte("{}"))
		}
		for _, f := range kept {
			_, _ = f.Seek(0, io.SeekStart)
			_, _ = f.Write(bytes.Repeat([]byte("evil"), 1<<10))
		}
		kept = append(kept, files[1])
		_ = send(host, outcome{})
	}
}

// TestForger: what was accepted is what was looked at.
func TestForger(t *testing.T) {
	h := &Host{Cache: cache, Program: impostor(t, "forger")}
	in, out := write(t, map[string]string{"a": "x", "b": "x", "c": "x"}), filepath.Join(t.TempDir(), "out")
	step := Step{Module: assembled(t, idle), From: 1, To: 2, Format: "json", Schema: []byte("{}")}
	_, err := h.Run(t.Context(), []Step{step}, in, out, nil)
	must(t, err)
	if diff := cmp.Diff(map[string]string{"a": "{}", "b": "{}", "c": "{}"}, read(t, out)); diff != "" {
		t.Error(diff)
	}
}

// answerAlways answers what it was not asked, and reads nothing.
func answerAlways(host *net.UnixConn) {
	for send(host, outcome{}) == nil {
	}
}

// leaveChild has a child that holds its stderr, as it could while it compiles.
func leaveChild(host *net.UnixConn) {
	self, _ := os.Executable()
	child, err := os.StartProcess(self, []string{"child"}, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		_ = send(host, outcome{Class: Trap, Reason: err.Error()})
		return
	}
	_ = send(host, outcome{Class: Trap, Reason: fmt.Sprint("child ", child.Pid)})
}

// TestPatience: there is an end to the patience with a sandbox that takes nothing,
// or that leaves somebody behind.
func TestPatience(t *testing.T) {
	long := map[string]string{"p": strings.Repeat("x", 80<<10)} // so that few messages are more than a socket takes
	for name, want := range map[string]string{"deaf": "it answers what it was not asked", "parent": "child "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &Host{Cache: cache, Program: impostor(t, name)}
			in := write(t, map[string]string{"a": "", "b": "", "c": "", "d": "", "e": ""})
			_, err := h.Run(t.Context(), []Step{{Module: assembled(t, idle), From: 1, To: 2, Params: long}}, in, filepath.Join(t.TempDir(), "out"), nil)
			e, child := failed(t, err), 0
			if !strings.HasPrefix(e.Reason, want) {
				t.Errorf("got %v", err)
			}
			if n, _ := fmt.Sscanf(e.Reason, "child %d", &child); n == 1 {
				must(t, syscall.Kill(child, syscall.SIGKILL))
			}
		})
	}
}

// impostor is a copy of this program that is another sandbox by its name.
func impostor(t *testing.T, name string) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	program := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(program, self, 0o700))
	return program
}

// TestSparseTar: holes of any size cost nobody time.
func TestSparseTar(t *testing.T) {
	for _, size := range []string{"4000", "9000000000000000000"} {
		err := validateTar(bytes.NewReader(sparse(size)))
		if err == nil || !strings.Contains(err.Error(), "sparse files are not taken") {
			t.Errorf("%s bytes: %v", size, err)
		}
	}
	if err := validateTar(bytes.NewReader(sparse("0"))); err != nil {
		t.Errorf("without a hole: %v", err)
	}
}

// sparse is a tar archive with a file of so many bytes, all of them a hole.
func sparse(size string) []byte {
	records := ""
	for _, r := range []string{"GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.name=f", "GNU.sparse.size=" + size, "GNU.sparse.numblocks=1", "GNU.sparse.map=0,0"} {
		record := " " + r + "\n"
		for n := len(record) + 1; ; n++ {
			if line := fmt.Sprint(n) + record; len(line) == n {
				records += line
				break
			}
		}
	}
	var b bytes.Buffer
	block(&b, "x", 'x', []byte(records))
	block(&b, "f", '0', nil)
	b.Write(make([]byte, 2*blockSize))
	return b.Bytes()
}

// block writes an entry as no library does.
func block(b *bytes.Buffer, name string, kind byte, content []byte) {
	h := make([]byte, blockSize)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00        ", len(content)))
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	b.Write(h)
	b.Write(content)
	b.Write(make([]byte, (blockSize-len(content)%blockSize)%blockSize))
}

// TestLongCell: a length that does not fit an int of 32 bits is refused there too.
func TestLongCell(t *testing.T) {
	b := make([]byte, 512)
	copy(b, sqliteMagic)
	binary.BigEndian.PutUint16(b[16:], 512)
	b[18], b[19], b[21], b[22], b[23] = 1, 1, 64, 32, 32
	binary.BigEndian.PutUint32(b[28:], 1)
	b[100] = leafTable
	binary.BigEndian.PutUint16(b[103:], 1)
	binary.BigEndian.PutUint16(b[108:], 400)
	copy(b[400:], []byte{0x88, 0x80, 0x80, 0x80, 0x00, 1}) // 1<<31
	if err := validateSQLite(bytes.NewReader(b)); err == nil {
		t.Error("taken")
	}
}

// TestErrorIsOneLine, whatever a module calls its files.
func TestErrorIsOneLine(t *testing.T) {
	e := &Error{Class: Invalid, Edge: "1→2", File: "a\nlevel=ERROR\x1b[2J", Reason: "one\ntwo"}
	if text := e.Error(); strings.ContainsAny(text, "\n\x1b") {
		t.Errorf("%q", text)
	}
}
