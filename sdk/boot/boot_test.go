package boot

import (
	"strings"
	"testing"
)

func TestID(t *testing.T) {
	id := ID()
	if id != ID() || len(id) < len("6b1b7f0e-6c39-4b92-bd5c-0d8a3f1e5a3c/1") || !strings.Contains(id, "/") {
		t.Errorf("%q", id)
	}
}

func TestBegan(t *testing.T) {
	for stat, want := range map[string]string{
		"1 (systemd) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 42 100 7\n": "/42",
		"1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 43 100 7\n":    "/43",
		"1 (systemd) S 0": "",
		"":                "",
	} {
		if got := began([]byte(stat)); got != want {
			t.Errorf("%q: %q, want %q", stat, got, want)
		}
	}
}
