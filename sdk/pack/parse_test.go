package pack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVectors reads each directory of testdata/vectors: a manifest, a config,
// and error.txt, a part of the message if the package must be refused.
func TestVectors(t *testing.T) {
	dirs, err := filepath.Glob("testdata/vectors/*")
	if err != nil || len(dirs) == 0 {
		t.Fatal("no vectors", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			manifest, config := readVector(t, dir)
			want, err := os.ReadFile(filepath.Join(dir, "error.txt"))
			valid := os.IsNotExist(err)
			p, err := Parse(manifest, config)
			if valid {
				if err != nil || p.Digest != DigestOf(manifest) {
					t.Fatalf("valid package is refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(string(want))) {
				t.Fatalf("got error %v, want one with %q", err, want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("breaks more than one rule:\n%v", err)
			}
		})
	}
}

func readVector(t testing.TB, dir string) (manifest, config []byte) {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	config, err = os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	return manifest, config
}

func TestParseRefusesLargeManifest(t *testing.T) {
	if _, err := ConfigOf(make([]byte, MaxManifestSize+1)); err == nil {
		t.Fatal("manifest above the limit was read")
	}
}

func FuzzParse(f *testing.F) {
	dirs, err := filepath.Glob("testdata/vectors/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, dir := range dirs {
		manifest, config := readVector(f, dir)
		f.Add(manifest, config)
	}
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		p, err := Parse(manifest, config)
		if err != nil {
			// Reach behind the digest too, which the fuzzer cannot guess.
			var m Manifest
			if decodeStrict(config, &m) == nil {
				_ = m.check()
			}
			return
		}
		if p.Manifest.Component() == "/" || len(p.Artifacts) == 0 {
			t.Errorf("accepted %+v", p)
		}
	})
}

// TestParamsTogether: no more params than the sandbox takes, however they are
// divided.
func TestParamsTogether(t *testing.T) {
	for n, want := range map[int]string{2: "", 5: "more than 98304 bytes together"} {
		params := map[string]string{}
		for i := range n {
			params[fmt.Sprint("p", i)] = strings.Repeat("v", maxParam)
		}
		err := Transform{Params: params}.checkParams()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d params: %v", n, err)
		}
	}
}
