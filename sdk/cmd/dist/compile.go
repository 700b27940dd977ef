package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

const module = "github.com/tranquil-iot/tranquil"

// A program is one binary.
type program struct {
	name   string
	source string // its package, below the module
	native bool   // it has the ready-made transforms as native code
}

var (
	agent    = program{"tranquil-agent", "agent", true}
	backend  = program{"tranquil-backend", "backend", false}
	cli      = program{"tranquil", "sdk/cmd/tranquil", true}
	updaters = []program{
		{"tranquil-updater-application", "plugins/application", false},
		{"tranquil-updater-container", "plugins/container", false},
		{"tranquil-updater-firmware", "plugins/firmware", false},
	}
)

// sources is where the module lies.
func sources() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("cannot find the sources: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// compile builds a program, unless it was built already, and returns where it is.
// Whatever differs from one machine to another is left out.
func (d *distribution) compile(p program, a architecture) (string, error) {
	path := filepath.Join(d.work, a.debian, p.name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	link := "-s -w -buildid= -X main.version=" + d.version
	if p.native {
		link += " -X " + module + "/transforms/native.digests=" + d.native
	}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags="+link, "-o", path, "./"+p.source)
	build.Dir = d.root
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+a.goarch, "GOARM="+a.goarm, "CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0")
	build.Stderr = os.Stderr
	return path, build.Run()
}

// ask runs a program here, and returns what it says.
func (d *distribution) ask(p program, args ...string) ([]byte, error) {
	path, err := d.compile(p, architecture{debian: runtime.GOARCH, goarch: runtime.GOARCH})
	if err != nil {
		return nil, err
	}
	command := exec.Command(path, args...)
	command.Stderr = os.Stderr
	return command.Output()
}

// numbered finds a version in a tag, and what follows it.
var numbered = regexp.MustCompile(`^v?([0-9]+(?:\.[0-9]+)*)(.*)$`)

// debianVersion orders as the version does: a release candidate comes before its
// release, what was committed since after it. Sources without a tag go by their time.
func (d *distribution) debianVersion() string {
	m := numbered.FindStringSubmatch(d.version)
	if m == nil || !strings.Contains(m[1], ".") {
		return "0.0.0+git" + d.time.Format("20060102150405") + "." + clean(d.version)
	}
	rest := m[2]
	if candidate, isCandidate := strings.CutPrefix(rest, "-"); isCandidate && !regexp.MustCompile(`^[0-9]+-g|^dirty`).MatchString(candidate) {
		name, since, _ := strings.Cut(candidate, "-")
		rest = "~" + clean(name)
		if since != "" {
			rest += "+" + clean(since)
		}
	} else if isCandidate {
		rest = "+" + clean(candidate)
	}
	return m[1] + rest
}

// clean leaves what a version of Debian may have, without a revision.
func clean(text string) string {
	return regexp.MustCompile(`[^0-9A-Za-z.+~]+`).ReplaceAllString(text, ".")
}
