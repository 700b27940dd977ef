// Command dist builds what is given to those who run Tranquil: packages for
// Debian, an archive for BusyBox, an image of the backend, and what tells what is in
// them. The same sources, version and release of Go give the same bytes, wherever
// they lie:
//
//	go run ./sdk/cmd/dist -o DIR -version VERSION -time SECONDS -native DIGESTS [-arch LIST] [agent|backend|tranquil…]
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// An architecture, as Go and as Debian call it.
type architecture struct {
	debian, goarch, goarm string
}

var architectures = []architecture{{"amd64", "amd64", ""}, {"arm64", "arm64", ""}, {"armhf", "arm", "7"}}

func main() {
	var d distribution
	flag.StringVar(&d.out, "o", "bin/dist", "directory for all of it")
	flag.StringVar(&d.version, "version", "", "as git describe --tags --always has it")
	seconds := flag.Int64("time", 0, "of the sources, in seconds since 1970")
	flag.StringVar(&d.native, "native", "", "digests of the ready-made transforms, as transforms/build prints them, with commas")
	archs := flag.String("arch", "amd64,arm64,armhf", "those of Debian")
	flag.IntVar(&d.level, "level", 9, "of compression; 1 is for trials")
	flag.Parse()
	d.time = time.Unix(*seconds, 0).UTC()
	if err := d.run(strings.Split(*archs, ","), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

// A distribution is one release for some architectures.
type distribution struct {
	root    string // of the sources
	out     string
	version string
	time    time.Time // that all files are of
	native  string
	level   int    // of compression, 1 to 9
	work    string // directory of what was compiled; "" is one for the time being
}

// products are what there is a package of.
var products = map[string]func(*distribution, architecture) error{
	"agent":    (*distribution).agent,
	"backend":  (*distribution).backend,
	"tranquil": (*distribution).cli,
}

func (d *distribution) run(archs, names []string) (err error) {
	if len(names) == 0 {
		names = []string{"agent", "backend", "tranquil"}
	}
	if d.version == "" {
		return errors.New("-version is missing")
	}
	if d.root, err = sources(); err != nil {
		return err
	}
	if err := os.MkdirAll(d.out, 0o755); err != nil {
		return err
	}
	if d.work == "" {
		if d.work, err = os.MkdirTemp("", "tranquil-dist-"); err != nil {
			return err
		}
		defer os.RemoveAll(d.work)
	}
	for _, name := range archs {
		i := slices.IndexFunc(architectures, func(a architecture) bool { return a.debian == name })
		if i < 0 {
			return fmt.Errorf("there is nothing for %q, only for %v", name, architectures)
		}
		for _, product := range names {
			build, known := products[product]
			if !known {
				return fmt.Errorf("there is no product %q", product)
			}
			if err := build(d, architectures[i]); err != nil {
				return fmt.Errorf("%s for %s: %w", product, name, err)
			}
		}
	}
	if slices.Contains(names, "backend") {
		if err := d.image(archs); err != nil {
			return fmt.Errorf("image: %w", err)
		}
	}
	if err := d.bill(); err != nil {
		return fmt.Errorf("bill of materials: %w", err)
	}
	return d.sums()
}

// write makes a file of the distribution.
func (d *distribution) write(name string, data []byte) error {
	fmt.Printf("%9d  %s\n", len(data), name)
	return os.WriteFile(filepath.Join(d.out, name), data, 0o644)
}

// sums writes the checksums of all files, as sha256sum reads them.
func (d *distribution) sums() error {
	const name = "SHA256SUMS"
	files, err := os.ReadDir(d.out)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, f := range files {
		if f.Name() == name {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.out, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%x  %s\n", sha256.Sum256(data), f.Name())
	}
	return d.write(name, []byte(list.String()))
}

// file is one of the sources.
func (d *distribution) file(path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(d.root, path))
}
