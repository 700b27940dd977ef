package host

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// cutAll returns the pieces of a text.
func cutAll(t testing.TB, text []byte) [][]byte {
	t.Helper()
	var pieces [][]byte
	c := newCutter(bytes.NewReader(text))
	for {
		var piece []byte
		err := c.next(func(part []byte) error {
			piece = append(piece, part...)
			return nil
		})
		if errors.Is(err, io.EOF) {
			return pieces
		}
		if err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, piece)
	}
}

// readings is a log of about so many bytes.
func readings(size int, seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `{"seq":%d,"object":3303,"value":%.2f,"unit":"Cel"}`+"\n", i, random.Float64()*40)
	}
	return b.Bytes()
}

// wellCut checks what holds for every cut.
func wellCut(t testing.TB, text []byte, pieces [][]byte) {
	t.Helper()
	if !bytes.Equal(slices.Concat(pieces...), text) {
		t.Fatal("the pieces are not the text")
	}
	for i, p := range pieces {
		if len(p) == 0 || i < len(pieces)-1 && p[len(p)-1] != '\n' {
			t.Fatalf("piece %d of %d does not end with a line", i, len(pieces))
		}
		if len(p) > maxPiece && bytes.IndexByte(p[:len(p)-1], '\n') >= 0 {
			t.Fatalf("piece %d has %d bytes and more than one line", i, len(p))
		}
	}
}

func TestCut(t *testing.T) {
	alike := bytes.Repeat([]byte("always the same\n"), 4<<20/16)
	long := slices.Concat([]byte("a\n"), bytes.Repeat([]byte("x"), 5*maxPiece), []byte("\nb\nc"))
	for name, text := range map[string][]byte{
		"empty": nil, "no end": []byte("a"), "readings": readings(2<<20, 1), "alike": alike,
		"a long line": long, "only a long line": long[2 : 4*maxPiece+2],
		"line ends": bytes.Repeat([]byte("\n"), 3*maxPiece), "exactly": alike[:maxPiece],
	} {
		pieces := cutAll(t, text)
		wellCut(t, text, pieces)
		if n := len(text) / minPiece; len(pieces) > n+2 {
			t.Errorf("%s: %d bytes make %d pieces", name, len(text), len(pieces))
		}
	}
}

// What changes in a text changes few pieces.
func TestCutIsLocal(t *testing.T) {
	text := readings(4<<20, 1)
	line := []byte("a line that was not there\n")
	middle := bytes.IndexByte(text[len(text)/2:], '\n') + len(text)/2 + 1
	known := map[[32]byte]bool{}
	for _, p := range cutAll(t, text) {
		known[sha256.Sum256(p)] = true
	}
	for name, test := range map[string]struct {
		text  []byte
		fresh int
	}{
		"append":       {slices.Concat(text, line), 1},
		"append a MB":  {slices.Concat(text, readings(1<<20, 2)), 12},
		"insert":       {slices.Concat(text[:middle], line, text[middle:]), 3},
		"insert first": {slices.Concat(line, text), 3},
		"remove":       {slices.Concat(text[:middle-60000], text[middle:]), 9},
		"rotate":       {text[bytes.IndexByte(text, '\n')+1:], 3},
	} {
		fresh := 0
		for _, p := range cutAll(t, test.text) {
			if !known[sha256.Sum256(p)] {
				fresh++
			}
		}
		if fresh > test.fresh {
			t.Errorf("%s: %d of %d pieces are new, expected at most %d", name, fresh, len(known), test.fresh)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add([]byte("a\nb"), uint16(1))
	f.Add([]byte("x"), uint16(40000))
	f.Add([]byte("\n"), uint16(65535))
	f.Add(readings(300, 1), uint16(9000))
	f.Fuzz(func(t *testing.T, text []byte, times uint16) {
		text = bytes.Repeat(text, int(times)*min(1, 8<<20/(1+len(text)*(int(times)+1))))
		wellCut(t, text, cutAll(t, text))
	})
}
