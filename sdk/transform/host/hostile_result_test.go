package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// taken is the name under which the test binary is a sandbox that was taken over.
const taken = "taken"

// holdLog answers as a sandbox does, and then neither ends nor lets go of its log.
func holdLog() {
	c, err := net.FileConn(os.NewFile(3, "host"))
	if err != nil {
		return
	}
	host, b, files := c.(*net.UnixConn), make([]byte, 200<<10), make([]byte, 200)
	for _, answer := range []string{`{}`, `{}`, `{"Class":"trap","Reason":"one\ntwo"}`} {
		if _, err := host.Write([]byte(answer)); err != nil {
			return
		}
		_, _, _, _, _ = host.ReadMsgUnix(b, files)
	}
	time.Sleep(time.Hour)
}

// TestHeldLog: a sandbox that was taken over holds nobody up by its log.
func TestHeldLog(t *testing.T) {
	h := &Host{Cache: cache, Program: impostor(t, taken), Ceiling: Limits{Wall: time.Second}}
	_, err := h.Run(t.Context(), []Step{{Module: assembled(t, spinning), From: 1, To: 2}}, write(t, map[string]string{"f": "x"}), filepath.Join(t.TempDir(), "out"), nil)
	if e, is := errors.AsType[*Error](err); !is || strings.Contains(e.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

// flooded is the name under which it is one that writes what it likes.
const flooded = "flooded"

// floodResult reads its input, and lifts the limit of its output.
func floodResult() {
	c, err := net.FileConn(os.NewFile(3, "host"))
	if err != nil {
		return
	}
	host := c.(*net.UnixConn)
	var files []*os.File
	for range 2 {
		if err := send(host, outcome{}); err != nil {
			return
		}
		if files, err = receive(host, &struct{}{}); err != nil {
			return
		}
	}
	_, _ = io.Copy(io.Discard, files[0])
	_, _ = files[1].Write(make([]byte, 3<<20))
	_ = send(host, outcome{})
	time.Sleep(time.Hour)
}

// TestLiftedLimit: a sandbox that was taken over gets no more output accepted
// than any other.
func TestLiftedLimit(t *testing.T) {
	h := &Host{Cache: cache, Program: impostor(t, flooded), Ceiling: Limits{Output: 1 << 20}}
	_, _, err := runOne(t, h, Step{Module: assembled(t, idle)}, "text")
	if e := failed(t, err); e.Class != OutputLimit {
		t.Errorf("got %v", e)
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
