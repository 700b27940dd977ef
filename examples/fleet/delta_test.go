package fleet

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestDelta: a version that comes after another one is made of that by a delta, over
// CoAP; what runs is what was built.
func TestDelta(t *testing.T) {
	t.Parallel()
	s, err := rig.StartDeltas(t.Context(), built, t.TempDir())
	attend(t, s, err)
	put(t, s, "1.0.0", "2.0.0")
	update(t, s, "1.0.0")
	_, state := whole(t, s)
	update(t, s, "2.0.0")
	sound(t, s, "2.0.0", state)
	log, err := os.ReadFile(s.Agent.Log)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`blob is made by a delta.* bytes=([0-9]+) of=([0-9]+)`).FindSubmatch(log)
	if m == nil {
		t.Fatal("no blob was made by a delta")
	}
	bytes, _ := strconv.Atoi(string(m[1])) // digits
	of, _ := strconv.Atoi(string(m[2]))
	if bytes > of/4 {
		t.Errorf("the delta has %d bytes of %d", bytes, of)
	}
}
