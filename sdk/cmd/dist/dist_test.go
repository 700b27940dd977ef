package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The same sources and the same programs give the same files, whenever and wherever.
func TestReproducible(t *testing.T) {
	t.Parallel()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "work"), filepath.Join(work, "work")); err != nil {
		t.Fatal(err)
	}
	if err := assemble(work, "1.0.0"); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(work, "1.0.0")
	sums, err1 := os.ReadFile(filepath.Join(dir, "1.0.0", "SHA256SUMS"))
	same, err2 := os.ReadFile(filepath.Join(again, "SHA256SUMS"))
	if diff := cmp.Diff(string(sums), string(same)); err1 != nil || err2 != nil || diff != "" {
		t.Error(err1, err2, diff)
	}
	check := exec.Command("sha256sum", "--check", "--quiet", "SHA256SUMS")
	check.Dir = again
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

// So does a program, of sources that lie elsewhere.
func TestReproducibleProgram(t *testing.T) {
	t.Parallel()
	root, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "else", "where")
	for _, dir := range []string{"plugins", "sdk"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".dat") {
				return err
			}
			short, _ := filepath.Rel(root, path)
			return copyFile(path, filepath.Join(elsewhere, short))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := copyFile(filepath.Join(root, name), filepath.Join(elsewhere, name)); err != nil {
			t.Fatal(err)
		}
	}
	var sums [2][32]byte
	for i, from := range []string{root, elsewhere} {
		d := distribution{root: from, version: "v1.0.0", work: t.TempDir()}
		path, err := d.compile(updaters[2], here())
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(data)
	}
	if sums[0] != sums[1] {
		t.Error("the program differs by where its sources lie")
	}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	return err
}

// What dpkg reads of a package is what it shall be, in the order of releases.
func TestVersions(t *testing.T) {
	need(t, "dpkg")
	at := time.Unix(1_800_000_000, 0).UTC()
	last := ""
	for _, v := range []struct{ described, debian string }{
		{"1416e14", "0.0.0+git20270115080000.1416e14"},
		{"1416e15-dirty", "0.0.0+git20270115080000.1416e15.dirty"},
		{"v1.2.0-rc1", "1.2.0~rc1"},
		{"v1.2.0-rc1-3-g1416e14", "1.2.0~rc1+3.g1416e14"},
		{"v1.2.0", "1.2.0"},
		{"v1.2.0-3-g1416e14", "1.2.0+3.g1416e14"},
		{"v1.2.0-3-g1416e14-dirty", "1.2.0+3.g1416e14.dirty"},
		{"v1.10.0", "1.10.0"},
		{"2.0", "2.0"},
	} {
		d := distribution{version: v.described, time: at}
		got := d.debianVersion()
		if got != v.debian {
			t.Errorf("%s became %s, want %s", v.described, got, v.debian)
		}
		if out, err := exec.Command("dpkg", "--validate-version", got).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", got, out)
		}
		if last != "" && exec.Command("dpkg", "--compare-versions", last, "lt", got).Run() != nil {
			t.Errorf("dpkg takes %s for no newer than %s", got, last)
		}
		last = got
	}
}

// What dpkg shows of a package.
func TestPackage(t *testing.T) {
	t.Parallel()
	need(t, "dpkg-deb")
	file := release(t, "1.0.0", "tranquil-agent_*.deb")
	out, err := exec.Command("dpkg-deb", "--field", file, "Package", "Version", "Architecture").CombinedOutput()
	if want := "Package: tranquil-agent\nVersion: 1.0.0\nArchitecture: " + here().debian + "\n"; err != nil || string(out) != want {
		t.Errorf("got %s, %v", out, err)
	}
}

// The image runs without anything around it, as nobody, for whoever loads images.
func TestImage(t *testing.T) {
	t.Parallel()
	need(t, "skopeo")
	dir := t.TempDir()
	archive := "oci-archive:" + release(t, "1.0.0", "tranquil-backend_*_oci.tar") + ":v1.0.0"
	out, err := exec.Command("skopeo", "inspect", archive).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(`"Architecture": "`+here().goarch+`"`)) {
		t.Fatalf("skopeo inspect: %v\n%s", err, out)
	}
	if out, err := exec.Command("skopeo", "copy", archive, "dir:"+filepath.Join(dir, "copy")).CombinedOutput(); err != nil {
		t.Fatalf("skopeo copy: %v\n%s", err, out)
	}
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "copy", "manifest.json"))
	var m struct{ Layers []descriptor }
	if err != nil || json.Unmarshal(manifest, &m) != nil || len(m.Layers) != 1 {
		t.Fatalf("%v\n%s", err, manifest)
	}
	layer := filepath.Join(dir, "copy", strings.TrimPrefix(m.Layers[0].Digest, "sha256:"))
	if out, err := exec.Command("tar", "-xzf", layer, "-C", root, "--numeric-owner").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	config := "[hub]\nmqtt = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n[files]\nhttp = \"127.0.0.1:0\"\ncoap = \"127.0.0.1:0\"\n[web]\nhttps = \"127.0.0.1:0\"\n[bridge]\nlwm2m = \"127.0.0.1:0\"\n"
	if err := os.WriteFile(filepath.Join(root, "backend.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("chroot", fmt.Sprintf("--userspec=%d:%[1]d", nobody), root, "/usr/bin/tranquil-backend", "all", "--data", "/data", "--config", "/backend.toml")
	var said bytes.Buffer
	run.Stderr = &said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	for {
		if _, err := os.Stat(filepath.Join(root, "data", "endpoints.json")); err == nil {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v\n%s", err, &said)
		case <-time.After(50 * time.Millisecond):
		}
	}
	run.Process.Signal(os.Interrupt)
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, &said)
	}
}

// The bill has what the programs were made of.
func TestBill(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(release(t, "1.0.0", "*.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		BOMFormat    string
		Components   []part
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(data, &bill); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, c := range bill.Components {
		known[c.Ref] = true
	}
	on := map[string]string{}
	for _, d := range bill.Dependencies {
		on[d.Ref] = strings.Join(d.DependsOn, " ")
		for _, ref := range d.DependsOn {
			if !known[ref] {
				t.Errorf("%s depends on %s, which is not there", d.Ref, ref)
			}
		}
	}
	for program, library := range map[string]string{"tranquil-agent": "pkg:golang/github.com/dgraph-io/badger/v4@v", "tranquil-updater-firmware": "pkg:golang/github.com/godbus/dbus/v5@v", "tranquil-updater-container": "pkg:golang/stdlib@1."} {
		if !strings.Contains(on[program], library) {
			t.Errorf("%s has no %s in %s", program, library, on[program])
		}
	}
	if strings.Contains(on["tranquil-updater-firmware"], "badger") {
		t.Error("the updater has the agent's database")
	}
}
