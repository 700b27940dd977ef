package host

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The names of files reach the sandbox byte by byte, whatever is in them.
func TestJobKeepsBytes(t *testing.T) {
	host, child, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	sandbox, err := fileConn(child)
	if err != nil {
		t.Fatal(err)
	}
	defer sandbox.Close()
	step := Step{From: 1, To: 2, Params: map[string]string{"p": "\xfe<&>\u2028"}}
	env, err := step.env("bad\xff.json")
	if err != nil {
		t.Fatal(err)
	}
	want := job{Args: step.args("bad\xff.json"), Env: env, Output: 7}
	if err := send(host, want); err != nil {
		t.Fatal(err)
	}
	var got job
	if _, err := receive(sandbox, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
