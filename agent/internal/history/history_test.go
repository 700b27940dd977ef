package history

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

func TestBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	open := func() *Book {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		b, err := Open(path, file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	note := func(b *Book, component, update string) {
		if err := b.Note(&engine.Outcome{Component: component, Update: update, Result: engine.Updated}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path+".1", []byte(`{"component":"a","update":"0"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open()
	for range 2 {
		note(b, "a", "1")
		note(b, "b", "2")
	}
	if err := b.Note(nil); err != nil {
		t.Error(err)
	}
	if _, err := b.to.Write([]byte(`{"component":"a","upd`)); err != nil { // the power was cut
		t.Fatal(err)
	}
	if _, err := b.to.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	b = open()
	note(b, "a", "1")
	note(b, "a", "3")
	outcomes, err := b.All()
	got := ""
	for _, o := range outcomes {
		got += o.Component + o.Update + " "
	}
	if err != nil || got != "a0 a1 b2 a3 " {
		t.Errorf("%q, %v", got, err)
	}
}
