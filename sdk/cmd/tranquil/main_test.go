package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary be the tool when a script runs tranquil.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tranquil": main})
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
			env.Setenv("TRANQUIL_FILES", server.URL)
			env.Setenv("TRANQUIL_TOKEN", fakeToken)
			env.Setenv("TRANQUIL_HUB", "HostName="+host+";SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0;Insecure=true")
			return os.CopyFS(filepath.Join(env.WorkDir, "example"), os.DirFS("../../pack/testdata/example"))
		},
	})
}
