package main

import (
	"encoding/pem"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// TestMain builds the tool that the scripts run: as its users have it, since
// the race detector would make each sandbox ten times slower.
func TestMain(m *testing.M) {
	host.Main(nil) // a copy of this program may be the sandbox of a transform
	os.Exit(test(m))
}

func test(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tranquil-cli-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	transformCache, tools = filepath.Join(dir, "cache"), filepath.Join(dir, "bin")
	goCache, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		log.Fatal(err)
	}
	goCaches = strings.Fields(string(goCache))
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(tools, "tranquil"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		log.Fatalf("cannot build tranquil: %v\n%s", err, out)
	}
	return m.Run()
}

// tools holds the tool, transformCache the modules that the scripts compile,
// goCaches what the go command keeps.
var (
	tools, transformCache string
	goCaches              []string
)

// TestScripts runs each script of testdata with the example package at hand
// and a server that stands in for the file server and the hub.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"json": wantJSON},
		Setup: func(env *testscript.Env) error {
			vouching, err := newFakeTrust(filepath.Join(env.WorkDir, "trust"))
			if err != nil {
				return err
			}
			mux := http.NewServeMux()
			mux.Handle("/trust/{file}", vouching)
			mux.Handle("/", newFakeServer(filepath.Join(env.WorkDir, "requests")))
			server := httptest.NewServer(mux)
			env.Defer(server.Close)
			host := strings.TrimPrefix(server.URL, "http://")
			pages := httptest.NewTLSServer(newFakeLogin(mux))
			env.Defer(pages.Close)
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pages.Certificate().Raw})
			if err := os.WriteFile(filepath.Join(env.WorkDir, "ca.pem"), ca, 0o600); err != nil {
				return err
			}
			env.Setenv("PAGES", pages.URL)
			env.Setenv("PATH", tools+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("TZ", "UTC")
			env.Setenv("XDG_CACHE_HOME", transformCache)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("TRANQUIL_FILES", server.URL)
			env.Setenv("TRANQUIL_TOKEN", fakeToken)
			env.Setenv("TRANQUIL_HUB", "HostName="+host+";SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0;Insecure=true")
			engine, err := filepath.Abs("../../../transforms/sqlite/engine")
			if err != nil {
				return err
			}
			env.Setenv("SQLITE", engine)
			if err := os.CopyFS(filepath.Join(env.WorkDir, "recorder"), os.DirFS("../../../examples/transforms/sqlite")); err != nil {
				return err
			}
			gauge := filepath.Join(env.WorkDir, "gauge")
			if err := os.CopyFS(gauge, os.DirFS("../../transform/transformtest/testdata/gauge")); err != nil {
				return err
			}
			return os.CopyFS(filepath.Join(env.WorkDir, "example"), os.DirFS("../../pack/testdata/example"))
		},
	})
}
