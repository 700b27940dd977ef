package fleet

import (
	"strings"
	"testing"
)

// TestMethods has an operator ask a device for single things, with the agent here,
// away and coming.
func TestMethods(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0")
	call := func(arguments ...string) string {
		t.Helper()
		out, err := s.CLI(t.Context(), append([]string{"device", "call", s.Device}, arguments...)...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	refused := func(why string, arguments ...string) {
		t.Helper()
		out, err := s.CLI(t.Context(), append([]string{"device", "call", s.Device}, arguments...)...)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v: %s %v, want %q", arguments, out, err, why)
		}
	}
	if out := call("read", "/1/0/1"); out != "60" {
		t.Errorf("the lifetime is %s", out)
	}
	if out := call("write", "/1/0/1", "120"); out != "done" {
		t.Error(out)
	}
	if out := call("LWM2M_GET", `{"resourceUri": "/1/0/1"}`); out != "120" {
		t.Errorf("the lifetime is %s", out)
	}
	if out := call("discover", "/3/0"); !strings.Contains(out, `"/3/0/4"`) {
		t.Errorf("object 3 has %s", out)
	}
	refused("refused with 404", "read", "/3/0/999")
	refused("it has keys", "read", "/0/0/5")
	refused("what is asked of components", "write", "/26250/0/1", "x")

	s.Agent.Stop()
	comes(t, "an agent that is gone is not online", 1, func() int64 {
		if _, err := s.CLI(t.Context(), "device", "call", s.Device, "read", "/1/0/1"); err != nil && strings.Contains(err.Error(), "--wait") {
			return 1
		}
		return 0
	})
	answered := make(chan string, 1)
	go func() {
		out, err := s.CLI(t.Context(), "device", "call", s.Device, "read", "/1/0/1", "--wait", "5m", "--timeout", "2m")
		if err != nil {
			t.Error(err)
		}
		answered <- out
	}()
	if err := s.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := strings.TrimSpace(<-answered); out != "60" {
		t.Errorf("the lifetime of an agent that is back is %s", out)
	}
}
