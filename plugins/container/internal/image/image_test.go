package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A file of an archive, as tests write it: "dir/" is a directory, "a -> b" a
// symbolic and "a = b" a hard link, "! a" a device; else a file.
type files []struct{ name, content string }

func pack1(t testing.TB, list files) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range list {
		h := &tar.Header{Name: f.name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(f.content)), ModTime: time.Unix(1000, 0)}
		if from, to, is := strings.Cut(f.name, " -> "); is {
			h.Name, h.Linkname, h.Typeflag = from, to, tar.TypeSymlink
		} else if from, to, is := strings.Cut(f.name, " = "); is {
			h.Name, h.Linkname, h.Typeflag = from, to, tar.TypeLink
		} else if name, is := strings.CutPrefix(f.name, "! "); is {
			h.Name, h.Typeflag, h.Devmajor, h.Devminor = name, tar.TypeChar, 1, 3
		} else if strings.HasSuffix(f.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		} else if strings.HasPrefix(f.content, "#!") {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			fmt.Fprint(w, f.content)
		}
	}
	w.Close()
	return out.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstdCompressed(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

// artifact is what a package's layer is, with these files in it.
func artifact(t testing.TB, list files) *bytes.Reader {
	return bytes.NewReader(gzipped(pack1(t, list)))
}

// list tells of a directory: what each file holds, what each link leads to.
func list(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		switch {
		case err != nil || name == ".":
		case d.IsDir():
			found[name+"/"] = ""
		case d.Type()&fs.ModeSymlink != 0:
			found[name], _ = os.Readlink(path)
			found[name] = "-> " + found[name]
		default:
			content, _ := os.ReadFile(path)
			found[name] = string(content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func unpack(t testing.TB, list files) (dir string, err error) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "files")
	return dir, Unpack(t.Context(), artifact(t, list), dir)
}

// layout is an OCI image layout with these layers, behind an index in an index.
func layout(t testing.TB, config Config, layers ...[]byte) files {
	t.Helper()
	list := files{{layoutFile, `{"imageLayoutVersion":"1.0.0"}`}}
	put := func(b []byte) descriptor {
		d := descriptor{Digest: pack.DigestOf(b), Size: int64(len(b))}
		name, err := blob(d)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, struct{ name, content string }{name, string(b)})
		return d
	}
	marshal := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	manifest := document{Config: put(marshal(imageConfig{platform{OS: "linux", Architecture: runtime.GOARCH}, config}))}
	for _, l := range layers {
		manifest.Layers = append(manifest.Layers, put(l))
	}
	d := put(marshal(map[string]any{"config": manifest.Config, "layers": manifest.Layers}))
	d.Platform = &platform{OS: "linux", Architecture: runtime.GOARCH}
	inner := put(marshal(map[string]any{"manifests": []descriptor{{Digest: d.Digest, Platform: &platform{OS: "linux", Architecture: "s390"}}, d}}))
	index := marshal(map[string]any{"manifests": []descriptor{inner}})
	return append(list, struct{ name, content string }{indexFile, string(index)})
}

var (
	lower  = files{{"bin/", ""}, {"bin/run", "#!1"}, {"etc/", ""}, {"etc/a", "1"}, {"etc/b", "1"}, {"etc/deep/", ""}, {"etc/deep/c", "1"}, {"var -> etc", ""}, {"gone/x", "1"}}
	upper  = files{{"etc/deep/", ""}, {"etc/deep/d", "2"}, {"etc/.wh..wh..opq", ""}, {"etc/a", "2"}, {".wh.gone", ""}, {"bin/again = bin/run", ""}, {"./bin", "no directory any more"}}
	merged = map[string]string{"bin": "no directory any more", "etc/": "", "etc/a": "2", "etc/deep/": "", "etc/deep/d": "2", "var": "-> etc"}
)

// TestUnpack: whatever tools make becomes the root file system.
func TestUnpack(t *testing.T) {
	config := Config{Entrypoint: []string{"/bin/run"}, Env: []string{"A=B"}, User: "1:2"}
	root := map[string]string{"bin/": "", "bin/run": "#!1", "lib": "-> /usr/lib", "dev/": ""}
	archive := pack1(t, files{{"./", ""}, {"./bin/", ""}, {"./bin/run", "#!1"}, {"lib -> /usr/lib", ""}, {"dev/", ""}, {"! dev/null", ""}})
	hex := strings.Repeat("0123456789abcdef", 4)
	saved := files{
		{hex + "/layer.tar", string(pack1(t, lower))},
		{hex + ".tar", string(pack1(t, upper))},
		{hex + ".json", `{"os":"linux","config":{"Entrypoint":["/bin/run"],"Env":["A=B"],"User":"1:2"}}`},
		{dockerManifest, fmt.Sprintf(`[{"Config":"%[1]s.json","Layers":["%[1]s/layer.tar","%[1]s.tar"]}]`, hex)},
	}
	oci := layout(t, config, gzipped(pack1(t, lower)), zstdCompressed(pack1(t, upper)))
	for name, c := range map[string]struct {
		list   files
		want   map[string]string
		config Config
	}{
		"a program":                 {files{{"run", "#!1"}}, map[string]string{"run": "#!1"}, Config{}},
		"files":                     {files{{"bin/", ""}, {"bin/run", "#!1"}, {"etc/x", "y"}}, map[string]string{"bin/": "", "bin/run": "#!1", "etc/": "", "etc/x": "y"}, Config{}},
		"an archive":                {files{{"rootfs.tar", string(archive)}}, root, Config{}},
		"an archive with gzip":      {files{{"rootfs.tar.gz", string(gzipped(archive))}}, root, Config{}},
		"an archive with zstd":      {files{{"rootfs", string(zstdCompressed(archive))}}, root, Config{}},
		"an OCI layout":             {oci, merged, config},
		"an archive of a layout":    {files{{"image.tar", string(pack1(t, oci))}}, merged, config},
		"what docker save has made": {files{{"image.tar", string(gzipped(pack1(t, saved)))}}, merged, config},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := unpack(t, c.list)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, list(t, Root(dir))); d != "" {
				t.Error(d)
			}
			got, err := ReadConfig(dir)
			if d := cmp.Diff(c.config, got); d != "" || err != nil {
				t.Error(d, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestChoose: of an image for several processors the one that suits the device best.
func TestChoose(t *testing.T) {
	arm := func(variants ...string) (all []string) {
		for _, v := range variants {
			all = append(all, "linux/arm/"+v)
		}
		return all
	}
	for _, c := range []struct {
		has          []string
		device, want string // "": none
	}{
		{arm("v5", "v6", "v7"), "linux/arm/v7", "linux/arm/v7"},
		{arm("v7", "v6", "v5"), "linux/arm/v6", "linux/arm/v6"},
		{arm("v6", "v5"), "linux/arm/v7", "linux/arm/v6"},
		{arm("v5"), "linux/arm/v7", "linux/arm/v5"},
		{arm("v7"), "linux/arm/v6", ""},
		{append(arm("v8", "v6"), "linux/arm"), "linux/arm/v7", "linux/arm/v6"},
		{[]string{"linux/arm64/v8", "linux/arm"}, "linux/arm/v7", "linux/arm"},
		{[]string{"", "linux/arm/v7", "unknown/unknown"}, "linux/arm/v7", "linux/arm/v7"},
		{[]string{"unknown/unknown", ""}, "linux/arm/v7", "any/any"},
	} {
		device, err := pack.ParsePlatform(c.device)
		if err != nil {
			t.Fatal(err)
		}
		var manifests []descriptor
		for _, words := range c.has {
			p, err := pack.ParsePlatform(words)
			if err != nil {
				t.Fatal(err)
			}
			d := descriptor{Digest: p.String()}
			if words != "" {
				d.Platform = &platform{OS: p.OS, Architecture: p.Arch, Variant: p.Variant}
			}
			manifests = append(manifests, d)
		}
		if got, err := choose(manifests, device); got.Digest != c.want {
			t.Errorf("of %v %s takes %q, want %q: %v", c.has, c.device, got.Digest, c.want, err)
		}
	}
}

// TestBelongings: owners, set-user bits and times are those of the archive.
func TestBelongings(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can give files to others")
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range []tar.Header{
		{Name: "home/", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 1000, Gid: 100},
		{Name: "home/su", Typeflag: tar.TypeReg, Mode: 0o4711, Uid: 5, Gid: 6, PAXRecords: map[string]string{xattrPrefix + "user.a": "b", xattrPrefix + "trusted.c": "d"}},
		{Name: "home/link", Linkname: "su", Typeflag: tar.TypeSymlink, Uid: 7, Gid: 8},
	} {
		h.ModTime = time.Unix(1234567890, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	dir, err := unpack(t, files{{"rootfs.tar", out.String()}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"home": "dtrwxrwxrwx 1000:100", "home/su": "urwx--x--x 5:6", "home/link": "Lrwxrwxrwx 7:8",
	} {
		info, err := os.Lstat(filepath.Join(Root(dir), name))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(info.Mode(), " ", owner(info)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
		if name != "home/link" && info.ModTime().Unix() != 1234567890 {
			t.Errorf("%s is of %v", name, info.ModTime())
		}
	}
}

// TestRefuses: nothing that is unpacked reaches out of the root, and what is
// damaged or for somebody else is no image.
func TestRefuses(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	rootfs := func(f ...struct{ name, content string }) files {
		return files{{"rootfs.tar", string(pack1(t, append(files{{"bin", ""}}, f...)))}}
	}
	damaged := layout(t, Config{}, gzipped(pack1(t, lower)))
	for i, f := range damaged {
		if strings.HasPrefix(f.content, "\x1f\x8b") {
			damaged[i].content = string(gzipped(pack1(t, files{{"x", "y"}})))
		}
	}
	type f = struct{ name, content string }
	for name, c := range map[string]struct {
		list files
		want string
	}{
		"dots":                      {rootfs(f{"../outside", "x"}), "leads out"},
		"dots within":               {rootfs(f{"a/../../outside", "x"}), "leads out"},
		"through a link":            {rootfs(f{"a -> ../../../..", ""}, f{"a/outside", "x"}), "escapes"},
		"through an absolute link":  {rootfs(f{"a -> " + filepath.Dir(outside), ""}, f{"a/outside", "x"}), "escapes"},
		"a hard link out":           {rootfs(f{"a = " + "../outside", ""}), "leads out"},
		"a hard link through links": {rootfs(f{"a -> " + filepath.Dir(outside), ""}, f{"b = a/outside", ""}), "escapes"},
		"a whiteout of the root":    {rootfs(f{".wh.", ""}), "no whiteout"},
		"a whiteout of the parent":  {rootfs(f{"x/.wh...", ""}), "no whiteout"},
		"a whiteout through a link": {rootfs(f{"a -> " + filepath.Dir(outside), ""}, f{"a/.wh.outside", ""}), "escapes"},
		"an opaque link":            {rootfs(f{"a -> " + filepath.Dir(outside), ""}, f{"a/.wh..wh..opq", ""}), "escapes"},
		"a long name":               {rootfs(f{strings.Repeat("long/", 500) + "x", ""}), "no name"},
		"a layer that is damaged":   {damaged, "digest"},
		"no blob":                   {files{{layoutFile, "{}"}, {indexFile, `{"manifests":[{"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`}}, "no such file"},
		"a blob elsewhere":          {files{{layoutFile, "{}"}, {indexFile, `{"manifests":[{"digest":"../../x"}]}`}}, "not a digest"},
		"another platform":          {files{{layoutFile, "{}"}, {indexFile, `{"manifests":[{"platform":{"os":"plan9","architecture":"mips"}}]}`}}, "plan9/mips"},
		"docker names elsewhere":    {files{{dockerManifest, `[{"Config":"/etc/passwd","Layers":[]}]`}}, "no file of the image"},
		"two images":                {files{{dockerManifest, `[{},{}]`}}, "save one"},
		"an index of itself":        {files{{layoutFile, "{}"}, {indexFile, `{"manifests":[]}`}}, "no image for"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := unpack(t, c.list)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q; there is %v", err, c.want, list(t, dir))
			}
			if got, err := os.ReadFile(outside); string(got) != "precious" {
				t.Fatalf("it got out: %q, %v", got, err)
			}
		})
	}
}

// TestBounded: an image may fill neither the disk nor its inodes.
func TestBounded(t *testing.T) {
	for name, limit := range map[string]struct{ bytes, entries int64 }{"bytes": {10, 100}, "entries": {1 << 20, 2}} {
		t.Run(name, func(t *testing.T) {
			tr, err := newTree(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			tr.bytes, tr.entries = limit.bytes, limit.entries
			err = tr.apply(t.Context(), bytes.NewReader(pack1(t, files{{"a", "12345"}, {"b", "12345"}, {"c", "1"}})))
			if err == nil || !strings.Contains(err.Error(), "does not fit") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// FuzzLayer: whatever a layer is, nothing appears outside of the root.
func FuzzLayer(f *testing.F) {
	for _, l := range []files{lower, upper, {{"a -> ..", ""}, {"a/b", "x"}}, {{"a = ../b", ""}}, {{".wh..", ""}}, {{"! a", ""}}} {
		f.Add(pack1(f, l))
		f.Add(gzipped(pack1(f, l)))
		f.Add(zstdCompressed(pack1(f, l)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		tr, err := newTree(root)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		tr.bytes, tr.entries = 1<<20, 1000
		layer, err := newLayer(bytes.NewReader(data))
		if err != nil {
			return
		}
		defer layer.Close()
		_ = tr.apply(t.Context(), layer)
		if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
			t.Errorf("outside of the root there is %v, %v", names, err)
		}
	})
}

func owner(info fs.FileInfo) string {
	s := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", s.Uid, s.Gid)
}

// FuzzImage: whatever an image says of itself, it is read to its end or refused,
// and no file that is not its own.
func FuzzImage(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:`+strings.Repeat("0", 64)+`","size":2}]}`), []byte(`[]`), []byte(`{}`))
	f.Add([]byte(`{"config":{"digest":"x"},"layers":[{"digest":"y"}]}`), []byte(`[{"Config":"link","Layers":["link/x","../x"]}]`), []byte(`{"config":{}}`))
	f.Fuzz(func(t *testing.T, index, docker, config []byte) {
		dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
		for name, data := range map[string][]byte{indexFile: index, dockerManifest: docker, "config": config, secret: nil} {
			if !filepath.IsAbs(name) {
				name = filepath.Join(dir, name)
			}
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(secret, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		for _, read := range []func(string) (ociImage, error){readLayout, readDocker} {
			i, err := read(dir)
			if err == nil && len(i.layers) != len(i.check) {
				t.Errorf("%d layers, %d digests", len(i.layers), len(i.check))
			}
			for _, layer := range i.layers {
				if real, _ := filepath.EvalSymlinks(layer); !strings.HasPrefix(real, dir+"/") {
					t.Errorf("layer %s is none of the image's files", layer)
				}
			}
		}
	})
}
