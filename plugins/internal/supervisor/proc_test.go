package supervisor

import (
	"os"
	"strings"
	"testing"
)

func TestReadStat(t *testing.T) {
	self, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if self.parent != os.Getppid() || self.dead || self.begun == 0 {
		t.Errorf("own process is %+v", self)
	}
	if _, err := readStat(0); err == nil {
		t.Error("process 0 was found")
	}
}

const rest = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 77 20 21"

func TestParseStat(t *testing.T) {
	for line, want := range map[string]stat{
		"5 (name) S" + rest:         {parent: 1, begun: 77},
		"5 (a) R 9 (b) S) Z" + rest: {parent: 1, begun: 77, dead: true},
		"5 (\n) X" + rest:           {parent: 1, begun: 77, dead: true},
	} {
		if got, err := parseStat([]byte(line)); err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", line, got, err, want)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("5 (name) S" + rest)
	f.Add("5 (name) S 1")
	f.Add(")")
	f.Add("")
	f.Fuzz(func(t *testing.T, line string) {
		if got, err := parseStat([]byte(line)); err == nil && !strings.Contains(line, ") ") {
			t.Errorf("%q gave %+v", line, got)
		}
	})
}

// FuzzFiles: whatever is in the directory, it is read without a panic, and no
// process is found that it does not really describe.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"PID":1,"Begun":5,"Boot":"x"}`), []byte(`{"Command":["a"],"Mark":"A=B"}`))
	f.Add([]byte(`{"PID":-1}`), []byte(`{}`))
	f.Add([]byte(``), []byte(`[]`))
	f.Fuzz(func(t *testing.T, status, spec []byte) {
		dir := t.TempDir()
		os.WriteFile(statusPath(dir), status, 0o600)
		os.WriteFile(specPath(dir), spec, 0o600)
		if p, err := Find(t.Context(), dir); err == nil && p != nil {
			t.Errorf("found %+v", p.Status)
		}
		if s, err := readSpec(dir); err == nil && len(s.Command) == 0 {
			t.Errorf("no command in %+v", s)
		}
	})
}
