package main

import (
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// TestMain makes the test binary be the tool when a script runs tranquil.
func TestMain(m *testing.M) {
	host.Main() // a copy of this program may be the sandbox of a transform
	dir, err := os.MkdirTemp("", "tranquil-cli-")
	if err != nil {
		log.Fatal(err)
	}
	transformCache = dir
	testscript.Main(cleaner{m, dir}, map[string]func(){"tranquil": main})
}

// transformCache holds the modules that the scripts compile.
var transformCache string

// A cleaner removes a directory after the tests; testscript.Main never returns.
type cleaner struct {
	testscript.TestingM
	dir string
}

func (c cleaner) Run() int {
	defer os.RemoveAll(c.dir)
	return c.TestingM.Run()
}

// TestScripts runs each script of testdata with the example package at hand
// and a server that stands in for the file server and the hub.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			server := httptest.NewServer(newFakeServer(filepath.Join(env.WorkDir, "requests")))
			env.Defer(server.Close)
			host := strings.TrimPrefix(server.URL, "http://")
			env.Setenv("TZ", "UTC")
			env.Setenv("XDG_CACHE_HOME", transformCache)
			env.Setenv("TRANQUIL_FILES", server.URL)
			env.Setenv("TRANQUIL_TOKEN", fakeToken)
			env.Setenv("TRANQUIL_HUB", "HostName="+host+";SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0;Insecure=true")
			gauge := filepath.Join(env.WorkDir, "gauge")
			if err := os.CopyFS(gauge, os.DirFS("../../transform/transformtest/testdata/gauge")); err != nil {
				return err
			}
			return os.CopyFS(filepath.Join(env.WorkDir, "example"), os.DirFS("../../pack/testdata/example"))
		},
	})
}
