package host

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		format, content string
		ok              bool
	}{
		{"", "\x00", true},
		{"bytes", "", true},
		{"json", ` {"a":[1,{"b":null}]} ` + "\n", true},
		{"json", "3", true},
		{"json", "", false},
		{"json", `{"a":[1`, false},
		{"json", `[1,]`, false},
		{"json", `{"a":1,}`, false},
		{"json", `{} {}`, false},
		{"json", `{}]`, false},
		{"ndjson", "{}\n\n[1]\n2", true},
		{"ndjson", "", true},
		{"ndjson", "{}\n{\"a\":", false},
		{"ndjson", "1 2\n", false},
		{"ndjson", "[1,\n2]\n", false},
		{"json", strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), true},
		{"json", strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), false},
		{"tar", string(archived(t, "a")), true},
		{"tar", string(archived(t, "a")[:700]), false},
		{"tar", string(archived(t, "../a")), false},
		{"tar", strings.Repeat("x", 2000), false},
		{"sqlite", "", true},
		{"sqlite", "SQLite format 3\x00", false},
	} {
		err := validate(t.Context(), test.format, strings.NewReader(test.content))
		if (err == nil) != test.ok {
			t.Errorf("%s %q: got %v", test.format, test.content, err)
		}
	}
}

// What was printed into a result is shown, what may be state is not.
func TestValidateTells(t *testing.T) {
	for content, want := range map[string]string{
		"debug: \x1b[1mgot\n{\"secret\": 1}": `it is not json: no JSON, it begins with "debug: �[1mgot": messages belong on stderr`,
		"{\"secret\":":                       "it is not json: unexpected EOF",
	} {
		err := validate(t.Context(), "json", strings.NewReader(content))
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != want {
			t.Errorf("%q: got %v, want %s", content, err, want)
		}
	}
}

func archived(t testing.TB, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: name, Size: 600, Typeflag: tar.TypeReg})
	if err == nil {
		_, err = w.Write(make([]byte, 600))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzValidateJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-2.5e3,"\u00e4",true,null,{}]}`, `[[],{}`, `-0`, `01`, `1.`, `1e`, `"\x"`, `{"a":1,}`, " [ ] ", "{}{}", `[1 2]`, `{"a" 1}`, "1\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := validateJSON(bytes.NewReader(data)); (err == nil) != json.Valid(data) {
			t.Errorf("%q: got %v, json.Valid says %v", data, err, json.Valid(data))
		}
		want := true
		for line := range bytes.Lines(data) {
			want = want && (len(bytes.Trim(line, " \t\r\n")) == 0 || json.Valid(line))
		}
		if err := validateLines(bytes.NewReader(data)); (err == nil) != want {
			t.Errorf("lines %q: got %v, want %t", data, err, want)
		}
	})
}

// Whatever a module writes, the host's memory stays what it is.
func TestValidateInLittleMemory(t *testing.T) {
	const size = 16 << 20
	zeros := func() io.Reader { return io.LimitReader(endless('0'), size) }
	for name, r := range map[string]io.Reader{
		"a long string": io.MultiReader(strings.NewReader(`"`), zeros(), strings.NewReader(`"`)),
		"a long number": io.MultiReader(strings.NewReader(`1`), zeros()),
		"deep":          io.LimitReader(endless('['), size),
		"spaces":        io.LimitReader(endless(' '), size),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := validateJSON(r)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d bytes were allocated, the result is %v", name, used, err)
		}
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

func FuzzTar(f *testing.F) {
	f.Add(archived(f, "a"))
	f.Add(archived(f, "../a")[:700])
	f.Add(archived(f, "a/"+strings.Repeat("b", 200)))
	f.Add(longName(f))
	f.Add(sparse("4000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = validateTar(bytes.NewReader(data))
		s, dir := newUnpacked(t, 1<<20)
		if err := s.unpack(t.Context(), bytes.NewReader(data)); err != nil {
			if e := failed(t, err); strings.Contains(e.Error(), "\n") || len(e.Error()) > 1000 {
				t.Errorf("got %v", e)
			}
		}
		if all, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(all) != 1 {
			t.Errorf("beside the state there is %v, %v", all, err)
		}
	})
}

// longName is a tar whose one name is in a header of GNU's.
func longName(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: strings.Repeat("n", 120), Typeflag: tar.TypeReg, Format: tar.FormatGNU})
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A reader of tar takes a name to end at a zero byte, whatever follows.
func TestZeroInAName(t *testing.T) {
	patched := func(data []byte, at int, with string) []byte {
		data = append(data[:at:at], append([]byte(with), data[at+len(with):]...)...)
		sum := 8 * int(' ')
		for i, b := range data[:blockSize] {
			if i < 148 || i >= 156 {
				sum += int(b)
			}
		}
		copy(data[148:156], fmt.Sprintf("%06o\x00 ", sum))
		return data
	}
	for name, test := range map[string]struct {
		data []byte
		ok   bool
	}{
		"whole":                  {archived(t, "abc"), true},
		"short":                  {patched(archived(t, "abc"), 0, "ab\x00"), true},
		"zero":                   {patched(archived(t, "abc"), 0, "a\x00c"), false},
		"zero far behind":        {patched(archived(t, "abc"), 99, "c"), false},
		"zero in the prefix":     {patched(archived(t, strings.Repeat("a/", 60)+"b"), 346, "\x00"), false},
		"long":                   {longName(t), true},
		"zero in a long one":     {patched(longName(t), blockSize+50, "\x00"), false},
		"zero behind a long one": {patched(longName(t), blockSize+119, "\x00\x00"), true},
	} {
		err := validate(t.Context(), "tar", bytes.NewReader(test.data))
		if (err == nil) != test.ok || err != nil && !strings.Contains(err.Error(), errZero.Error()) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
