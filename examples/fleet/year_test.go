package fleet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/internal/uml"
)

// TestOffForAYear has a device be off for thirteen months. Meanwhile its session and its
// registration are forgotten, the keys of the root are replaced, all that is signed for
// its packages expires and is renewed, and the backend moves. Nobody touches the device:
// it finds the backend at the other place that it knows, follows the roots, and is updated.
func TestOffForAYear(t *testing.T) {
	if uml.Inside() {
		offForAYear(t)
		return
	}
	t.Parallel()
	file, err := built.Package(t.Context(), t.TempDir(), "1.0.0", slices.Concat(quick, []rig.Edit{rig.Replace(`version = "1.0.0"`, `version = "1.0.1"`)})...)
	if err != nil {
		t.Fatal(err)
	}
	bootInside(t, nextOutside+"="+file)
}

// nextOutside is the package of the version that comes out meanwhile.
const nextOutside = "TRANQUIL_NEXT"

func offForAYear(t *testing.T) {
	const elsewhere, half = "127.0.0.1:5999", 200 * 24 * time.Hour
	s, err := rig.StartGuarded(t.Context(), built, t.TempDir(), rig.Replace("lifetime =", `also = ["coaps://`+elsewhere+`"]`+"\nlifetime ="))
	attend(t, s, err)
	put(t, s, "1.0.0")
	update(t, s, "1.0.0")
	s.Agent.Kill()
	s.Reboot()

	cli := func(words ...string) {
		t.Helper()
		if out, err := s.CLI(t.Context(), words...); err != nil {
			t.Fatal(err, out)
		}
	}
	key := filepath.Join(s.Dir, "another")
	must(t, uml.Step(half))
	cli("trust", "key", key+".key", "--no-passphrase")
	old, err := filepath.Glob(filepath.Join(s.Operator(), "keys", "root-*.key"))
	if err != nil || len(old) == 0 {
		t.Fatalf("the operator has no key of the root: %v", err)
	}
	rotate := []string{"trust", "rotate", s.Operator(), "root", "--replace", "--threshold", "1", "--add", key + ".pub", "--key", key + ".key"}
	for _, file := range old {
		rotate = append(rotate, "--key", file)
	}
	cli(rotate...)
	cli("trust", "rotate", s.Operator(), "targets")
	s.Backend.Stop()
	must(t, uml.Step(half))
	s.Move(elsewhere)
	must(t, s.StartBackend(t.Context()))

	if err := s.Push(t.Context(), os.Getenv(nextOutside)); err != nil {
		t.Fatal(err)
	}
	restart(t, s)
	update(t, s, "1.0.1")
	log, err := os.ReadFile(s.Agent.Log)
	if err != nil || !strings.Contains(string(log), `msg=registration server=coaps://`+elsewhere+` registered=true`) {
		t.Errorf("it is not registered elsewhere: %v", err)
	}
}
