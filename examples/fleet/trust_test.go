package fleet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestTrust has a device that wants signatures. What nobody has signed for is
// refused, whoever asks for it; and when all that the device keeps of trust is
// damaged, it begins anew by its root.
func TestTrust(t *testing.T) {
	t.Parallel()
	s, err := rig.StartTrusting(t.Context(), built, t.TempDir())
	attend(t, s, err)
	put(t, s, "1.0.0", "2.0.0")
	update(t, s, "1.0.0")

	file, err := s.Package(t.Context(), "2.0.0", slices.Concat(quick, []rig.Edit{rig.Replace("2.0.0", "6.6.6")})...)
	if err == nil {
		err = s.PushUnsigned(t.Context(), file)
	}
	if err != nil {
		t.Fatal(err)
	}
	if cause := refused(t, s, `{"version": "6.6.6"}`); !strings.Contains(cause, "author does not list application/sensor-adapter/6.6.6") {
		t.Errorf("cause %q", cause)
	}

	s.Agent.Stop()
	kept, err := filepath.Glob(filepath.Join(s.Dir, "agent", "trust", "*"))
	if err != nil || len(kept) < 3 {
		t.Fatalf("the agent keeps %v, %v", kept, err)
	}
	for _, path := range kept {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	update(t, s, "2.0.0")
	for _, path := range kept {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s is not healed: %v", path, err)
		}
	}
	if log, err := os.ReadFile(s.Agent.Log); err != nil || strings.Contains(string(log), "packages need no signature") {
		t.Errorf("the agent says that it wants no signatures (%v)", err)
	}
}
