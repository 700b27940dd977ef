package identity

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

func TestFilter(t *testing.T) {
	var out bytes.Buffer
	if err := Filter(strings.NewReader("a\x00b"), &out, transform.Edge{From: 1, To: 2}); err != nil || out.String() != "a\x00b" {
		t.Errorf("got %q, %v", &out, err)
	}
}
