package supervisor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[entry.Name()] = string(data)
	}
	return found
}

func TestLogRotation(t *testing.T) {
	for _, test := range []struct {
		name  string
		keep  int
		lines []string
		want  map[string]string
	}{
		{"fits", 2, []string{"aaaa\n", "bbb\n"}, map[string]string{"log": "aaaa\nbbb\n"}},
		{"one over", 2, []string{"aaaa\n", "bbbbb\n"}, map[string]string{"log": "bbbbb\n", "log.1": "aaaa\n"}},
		{"too long a line", 2, []string{"aaaaaaaaaaaaaaaaa\n", "b\n"}, map[string]string{"log": "b\n", "log.1": "aaaaaaaaaaaaaaaaa\n"}},
		{"oldest go", 2, []string{"aaaaaaaa\n", "bbbbbbbb\n", "cccccccc\n", "dddddddd\n"}, map[string]string{"log": "dddddddd\n", "log.1": "cccccccc\n", "log.2": "bbbbbbbb\n"}},
		{"none kept", 0, []string{"aaaaaaaa\n", "bbbbbbbb\n"}, map[string]string{"log": "bbbbbbbb\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, line := range test.lines { // each as after a restart
				log := &logFile{path: filepath.Join(dir, "log"), size: 10, keep: test.keep}
				log.Write([]byte(line))
				log.Close()
			}
			if d := cmp.Diff(test.want, contents(t, dir)); d != "" {
				t.Errorf("reopened each time:\n%s", d)
			}
			dir = t.TempDir()
			log := &logFile{path: filepath.Join(dir, "log"), size: 10, keep: test.keep}
			for _, line := range test.lines {
				log.Write([]byte(line))
			}
			log.Close()
			if d := cmp.Diff(test.want, contents(t, dir)); d != "" {
				t.Errorf("kept open:\n%s", d)
			}
		})
	}
}

// TestLogCannotBeWritten: what is printed is lost, and nothing else happens.
func TestLogCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	log := &logFile{path: filepath.Join(dir, "log"), size: 10, keep: 1}
	if n, err := log.Write([]byte("lost")); n != 4 || err != nil {
		t.Errorf("wrote %d, error %v", n, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log.Write([]byte("kept"))
	log.Close()
	if d := cmp.Diff(map[string]string{"log": "kept"}, contents(t, dir)); d != "" {
		t.Error(d)
	}
}
